"""Large files in parts: begun, added to, completed once, cancelled or expired. Never commits.

Owns what may still be added to an upload and which parts make its file. Knows no disk: the parts' bytes
are the storage's.
"""

from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.files import ExpiresAfter
from service.contract.uploads import Part, Upload, UploadCreate
from service.db import tables
from service.domain import files
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.errors import BadInput, Conflict, NotFound, TooLarge, TooMany

LIFE = 3600
"""Seconds in which an upload is to be completed."""
MAX_PART = 64 << 20
MAX_PENDING = 10
"""Uploads under way of one person."""
ROOM = 3
"""How often all bytes may come: a client that waited in vain sends a part again, twice at most."""


async def create_upload(
    session: AsyncSession, caller: Caller, wanted: UploadCreate, *, limit: int
) -> tables.Upload:
    files.check_purpose(wanted.purpose)
    if wanted.bytes > limit:
        raise TooLarge(f"A file holds {limit >> 20} MB at most. Split it into several files.", param="bytes")
    mine = select(func.count()).where(
        tables.Upload.user_id == caller.user_id, tables.Upload.status == "pending",
        tables.Upload.expires_at > now(),
    )  # fmt: skip
    if (await session.scalar(mine) or 0) >= MAX_PENDING:
        raise TooMany(f"{MAX_PENDING} uploads of yours are not completed. Complete or cancel one first.")
    upload = tables.Upload(
        id=new_id("upload_"), user_id=caller.user_id, filename=Path(wanted.filename).name[:200] or "file.jsonl",
        purpose=wanted.purpose, bytes=wanted.bytes, status="pending", file_id=None, created_at=now(),
        file_expires_after=wanted.expires_after.seconds if wanted.expires_after else None,
        expires_at=now() + LIFE,
    )  # fmt: skip
    session.add(upload)
    await session.flush()
    return upload


async def get_upload(session: AsyncSession, caller: Caller, upload_id: str) -> tables.Upload:
    """An upload of the caller's own."""
    upload = await session.get(tables.Upload, upload_id)
    if upload is None or upload.user_id != caller.user_id:
        raise NotFound(f"No such Upload object: {upload_id}", param="upload_id")
    return upload


async def check_room(session: AsyncSession, upload: tables.Upload) -> None:
    """Raise a refusal unless a part can still be added."""
    check_pending(upload)
    sent = await session.scalar(
        select(func.sum(tables.UploadPart.bytes)).where(tables.UploadPart.upload_id == upload.id)
    )
    if (sent or 0) >= ROOM * upload.bytes:
        raise BadInput(
            f"This upload was to hold {upload.bytes} bytes, and far more have come. Begin a new one.",
            code="too_many_bytes",
        )


def check_pending(upload: tables.Upload) -> None:
    if status_of(upload) != "pending":
        raise Conflict(
            f"This upload is '{status_of(upload)}'. Begin a new one with POST /v1/uploads.",
            code="upload_not_pending",
        )


async def add_part(session: AsyncSession, upload: tables.Upload, part_id: str, size: int) -> Part:
    """Count a part whose bytes are on disk."""
    check_pending(upload)
    part = tables.UploadPart(id=part_id, upload_id=upload.id, bytes=size, created_at=now())
    session.add(part)
    await session.flush()
    return Part(id=part.id, created_at=part.created_at, upload_id=upload.id)


async def check_parts(session: AsyncSession, upload: tables.Upload, part_ids: list[str]) -> None:
    """Raise `BadInput` unless these parts, each once, hold exactly the bytes that were announced."""
    rows = await session.scalars(select(tables.UploadPart).where(tables.UploadPart.upload_id == upload.id))
    sizes = {part.id: part.bytes for part in rows}
    for part_id in part_ids:
        if part_id not in sizes:
            raise BadInput(f"No part '{part_id[:80]}' belongs to this upload.", param="part_ids")
    if len(set(part_ids)) != len(part_ids):
        raise BadInput("A part is named twice. Name each part once, in order.", param="part_ids")
    size = sum(sizes[part_id] for part_id in part_ids)
    if size != upload.bytes:
        raise BadInput(
            f"These parts hold {size} bytes; the upload was to hold {upload.bytes}. Send what is missing, "
            "or begin a new upload with the right number.",
            param="part_ids", code="wrong_size",
        )  # fmt: skip


async def complete(
    session: AsyncSession, upload: tables.Upload, *, sha256: str, kind: str, rows: int
) -> tables.File:
    """The upload becomes a file, like one that came whole."""
    check_pending(upload)
    life = upload.file_expires_after
    file = await files.add_file(
        session, user_id=upload.user_id, filename=upload.filename, purpose=upload.purpose, sha256=sha256,
        size=upload.bytes, kind=kind, rows=rows,
        expires_after=ExpiresAfter(anchor="created_at", seconds=life) if life else None,
    )  # fmt: skip
    upload.status, upload.file_id = "completed", file.id
    return file


def cancel(upload: tables.Upload) -> None:
    """Nothing may be added any more. Repeating it changes nothing; one that was completed raises `Conflict`."""
    if upload.status != "cancelled":
        check_pending(upload)
        upload.status = "cancelled"


async def expire(session: AsyncSession) -> None:
    await session.execute(
        update(tables.Upload)
        .where(tables.Upload.status == "pending", tables.Upload.expires_at <= now())
        .values(status="expired")
    )


async def pending(session: AsyncSession) -> set[str]:
    """Uploads whose parts are still needed."""
    return set(await session.scalars(select(tables.Upload.id).where(tables.Upload.status == "pending")))


def status_of(upload: tables.Upload) -> str:
    """As it is now, whether or not the row was brought up to date."""
    return "expired" if upload.status == "pending" and upload.expires_at <= now() else upload.status


async def shown(session: AsyncSession, upload: tables.Upload) -> Upload:
    file = await session.get(tables.File, upload.file_id) if upload.file_id else None
    return Upload.model_validate(
        {
            "id": upload.id, "bytes": upload.bytes, "created_at": upload.created_at,
            "expires_at": upload.expires_at, "filename": upload.filename, "purpose": upload.purpose,
            "status": status_of(upload), "file": files.shown(file) if file else None,
        }
    )  # fmt: skip

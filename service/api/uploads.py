"""`/v1/uploads`: a large file in parts, which becomes one of `/v1/files` when it is complete."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, File, UploadFile
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.deps import CallerDep, HouseDep, WriteDep
from service.api.files import chunks_of
from service.contract.uploads import Part, Upload, UploadComplete, UploadCreate
from service.db import tables
from service.domain import files, origins, uploads
from service.domain.identity import new_id
from service.errors import BadInput
from service.storage.local import Store
from service.storage.parts import put_part, read_whole

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


@router.post("")
async def create_upload(
    wanted: UploadCreate, session: WriteDep, house: HouseDep, caller: CallerDep
) -> Upload:
    """Announce a file: its name, purpose and size. It is to be completed within an hour."""
    limit = house.settings.max_upload_mb << 20
    return await uploads.shown(session, await uploads.create_upload(session, caller, wanted, limit=limit))


@router.post("/{upload_id}/parts")
async def add_part(
    upload_id: str, house: HouseDep, caller: CallerDep, data: Annotated[UploadFile, File()]
) -> Part:
    """Send a part, up to 64 MB; parts may come at the same time and in any order."""
    async with house.database.reading() as session:
        await uploads.check_room(session, await uploads.get_upload(session, caller, upload_id))
    part_id = new_id("part_")
    place = house.store.upload(upload_id) / part_id
    size = await asyncio.to_thread(put_part, place, chunks_of(data), uploads.MAX_PART)
    async with house.database.writing() as session:
        upload = await uploads.get_upload(session, caller, upload_id)
        return await uploads.add_part(session, upload, part_id, size)


@router.post("/{upload_id}/complete")
async def complete_upload(
    upload_id: str, wanted: UploadComplete, house: HouseDep, caller: CallerDep
) -> Upload:
    """Make the file of these parts, checked as one that came whole. Repeated, it gives the same file."""
    async with house.database.reading() as session:
        upload = await uploads.get_upload(session, caller, upload_id)
        if (before := await _completed(session, upload)) is not None:
            return before
        await uploads.check_parts(session, upload, wanted.part_ids)
    try:
        sha256, kind, rows = await asyncio.to_thread(_put_together, house.store, upload, wanted)
    except FileNotFoundError:
        # Another request completed or cancelled it meanwhile, and took the parts away: the record says which.
        async with house.database.reading() as session:
            before = await _completed(session, await uploads.get_upload(session, caller, upload_id))
        if before is None:
            raise
        return before
    told = await origins.told_by(house.store.file(sha256), kind)
    async with house.database.writing() as session:
        upload = await uploads.get_upload(session, caller, upload_id)
        if upload.status != "completed":
            file = await uploads.complete(session, upload, sha256=sha256, kind=kind, rows=rows)
            await origins.keep(session, file.id, told)
        done = await uploads.shown(session, upload)
    await _drop(house, upload_id)
    return done


@router.post("/{upload_id}/cancel")
async def cancel_upload(upload_id: str, house: HouseDep, caller: CallerDep) -> Upload:
    """Give it up; its parts are removed."""
    async with house.database.writing() as session:
        upload = await uploads.get_upload(session, caller, upload_id)
        uploads.cancel(upload)
        given_up = await uploads.shown(session, upload)
    await _drop(house, upload_id)
    return given_up


async def _drop(house: HouseDep, upload_id: str) -> None:
    await asyncio.to_thread(house.store.drop_upload, upload_id)


async def _completed(session: AsyncSession, upload: tables.Upload) -> Upload | None:
    """What it became, if it was completed already. Raises `Conflict` when it cannot be any more."""
    if upload.status == "completed":
        return await uploads.shown(session, upload)
    uploads.check_pending(upload)
    return None


def _put_together(store: Store, upload: tables.Upload, wanted: UploadComplete) -> tuple[str, str, int]:
    """The parts as one file that was checked: its digest, kind and rows. Raises `BadInput`. Blocking."""
    md5, place = hashlib.md5(usedforsecurity=False), store.upload(upload.id)
    parts = read_whole(place / part_id for part_id in wanted.part_ids)
    sha256, _ = store.put_file(_hashed(parts, md5), upload.bytes)
    if wanted.md5 is not None and wanted.md5.strip().lower() != md5.hexdigest():
        raise BadInput(
            "The bytes that came do not have this md5. Send the parts again in a new upload.",
            param="md5", code="checksum_mismatch",
        )  # fmt: skip
    return sha256, *files.check(store.file(sha256), upload.purpose, upload.filename)


def _hashed(chunks: Iterator[bytes], md5: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in chunks:
        md5.update(chunk)
        yield chunk

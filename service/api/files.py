"""`/v1/files`: upload, list, read, delete. A file is checked whole before it counts."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse

from service.api.deps import CallerDep, HouseDep, NoteDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract import files as contract
from service.domain import files, origins, result_files
from service.errors import BadInput

router = APIRouter(prefix="/v1/files", tags=["files"])
CHUNK = 1 << 20
MEDIA_TYPES = {"adapter": "application/zip", "results": "text/csv"}
"""Of what is not JSONL, by its kind."""
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {name: {} for name in ("application/jsonl", *MEDIA_TYPES.values())}}
}


@router.post("")
async def upload_file(
    house: HouseDep,
    caller: CallerDep,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form()],
    anchor: Annotated[Literal["created_at"] | None, Form(alias="expires_after[anchor]")] = None,
    seconds: Annotated[int | None, Form(alias="expires_after[seconds]", ge=3600, le=2_592_000)] = None,
) -> contract.File:
    """Keep a JSONL file: `fine-tune` for training, `evals` for held-out questions, `batch` for requests; or, as
    `adapter`, a ZIP with an adapter."""
    files.check_purpose(purpose)
    if (anchor is None) != (seconds is None):
        raise BadInput("'expires_after' needs both 'anchor' and 'seconds'.", param="expires_after")
    life = contract.ExpiresAfter(anchor=anchor, seconds=seconds) if anchor and seconds else None
    limit = house.settings.max_upload_mb << 20
    sha256, size = await asyncio.to_thread(house.store.put_file, chunks_of(file), limit)
    path = house.store.file(sha256)
    name = file.filename or "file.jsonl"
    kind, rows = await asyncio.to_thread(files.check, path, purpose, name)
    told = await origins.told_by(path, kind)
    async with house.database.writing() as session:
        added = await files.add_file(
            session, user_id=caller.user_id, filename=name, purpose=purpose,
            sha256=sha256, size=size, kind=kind, rows=rows, expires_after=life,
        )  # fmt: skip
        await origins.keep(session, added.id, told)
        return files.shown(added)


@router.get("")
async def list_files(
    session: ReadDep,
    caller: CallerDep,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> dict[str, Any]:
    found, more = await files.list_files(
        session, caller, purpose=purpose, after=after, limit=limit, ascending=order == "asc"
    )
    return as_list([files.shown(file) for file in found], has_more=more)


@router.get("/{file_id}")
async def retrieve_file(file_id: str, session: ReadDep, caller: CallerDep) -> contract.File:
    return files.shown(await files.get_visible(session, caller, file_id))


@router.get("/{file_id}/content", response_class=FileResponse, responses=CONTENT)
async def file_content(file_id: str, session: ReadDep, house: HouseDep, caller: CallerDep) -> FileResponse:
    file = await files.get_visible(session, caller, file_id)
    media_type = MEDIA_TYPES.get(file.kind, "application/jsonl")
    return FileResponse(house.store.file(file.sha256), media_type=media_type, filename=file.filename)


@router.delete("/{file_id}")
async def delete_file(file_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> contract.Deleted:
    """One's own; an administrator may delete anybody's, and the journal says so."""
    file = await files.delete_file(session, caller, file_id)
    await result_files.forget(session, file_id)
    if file.user_id != caller.user_id:
        await note("file.deleted", file_id, of=file.user_id)
    return contract.Deleted(id=file_id, object="file")


def chunks_of(file: UploadFile) -> Iterator[bytes]:
    """What came, from where the server laid it: small ones in memory, all others in a temporary file. Blocking."""
    while chunk := file.file.read(CHUNK):
        yield chunk

"""`/api/audit`: the journal of what people with power did, for administrators."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from service.api.deps import AdministratorDep, HouseDep, ReadDep
from service.api.lists import as_list
from service.contract.audit import Action, AuditCheck
from service.domain import audit

router = APIRouter(prefix="/api/audit", tags=["audit"])
LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}
}


@router.get("")
async def list_entries(
    session: ReadDep,
    _: AdministratorDep,
    action: Action | None = None,
    user: str | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Newest first. `before` is the id of the last entry seen."""
    found, more = await audit.list_entries(session, action=action, user_id=user, before=before, limit=limit)
    return as_list(found, has_more=more)


@router.get("/check")
async def check(session: ReadDep, house: HouseDep, _: AdministratorDep) -> AuditCheck:
    """Whether every entry is as it was written, and none was taken out of the middle."""
    return await audit.check(session, house.hasher)


@router.get("/export", response_class=StreamingResponse, responses=LINES)
async def export(house: HouseDep, caller: AdministratorDep) -> StreamingResponse:
    """The whole journal, one JSON object a line, oldest first; that it was exported is its last entry."""
    async with house.database.writing() as session:
        await audit.note(session, house.hasher, caller, "audit.exported", "audit")

    async def lines() -> AsyncIterator[str]:
        async with house.database.reading() as session:
            async for entry in audit.every_entry(session):
                yield entry.model_dump_json() + "\n"

    headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(lines(), media_type="application/jsonl", headers=headers)

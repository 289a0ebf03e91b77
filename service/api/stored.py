"""`GET /v1/chat/completions` and what follows it: the recorded chat completions of who calls."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from service.api.deps import CallerDep, ReadDep, WriteDep
from service.api.lists import as_list, metadata_wanted
from service.contract.stored import StoredChange, StoredDeleted
from service.domain import paging, stored

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"])

Order = Literal["asc", "desc"]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("")
async def list_chat_completions(
    request: Request, session: ReadDep, caller: CallerDep,
    model: str | None = None, order: Order = "asc", after: str | None = None, limit: Limit = 20,
) -> dict[str, Any]:  # fmt: skip
    """The caller's own that ended whole; `metadata[key]=value` filters."""
    rows, more = await stored.list_stored(
        session, caller, model=model, metadata=metadata_wanted(request), order=order, after=after, limit=limit
    )
    return as_list([stored.shown(row) for row in rows], has_more=more)


@router.get("/{completion_id}")
async def retrieve_chat_completion(completion_id: str, session: ReadDep, caller: CallerDep) -> dict[str, Any]:
    return stored.shown(await stored.get_stored(session, caller, completion_id))


@router.post("/{completion_id}")
async def change_chat_completion(
    completion_id: str, change: StoredChange, session: WriteDep, caller: CallerDep
) -> dict[str, Any]:
    """Replace its metadata; an answer itself never changes."""
    return stored.shown(await stored.note(session, caller, completion_id, change.metadata))


@router.delete("/{completion_id}")
async def delete_chat_completion(completion_id: str, session: WriteDep, caller: CallerDep) -> StoredDeleted:
    """Erase it. Where feedback leads back to it, question and answer stay for that alone."""
    await stored.delete(session, caller, completion_id)
    return StoredDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
async def list_messages(
    completion_id: str, session: ReadDep, caller: CallerDep,
    order: Order = "asc", after: str | None = None, limit: Limit = 20,
) -> dict[str, Any]:  # fmt: skip
    """What was asked with, without the assistant's instructions."""
    found = stored.messages_of(await stored.get_stored(session, caller, completion_id))
    page, more = paging.page(found if order == "asc" else found[::-1], after, limit)
    return as_list(page, has_more=more)

"""`/api/conversations`: a person's own conversations, found again after a reload or on another device."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.api.deps import CallerDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.conversations import (
    Conversation,
    ConversationChange,
    ConversationCreate,
    ConversationTurns,
    SharedConversation,
)
from service.contract.files import Deleted
from service.domain import assistants, conversation_search, conversations, sharing
from service.domain.conversation_export import as_json, as_markdown

router = APIRouter(prefix="/api/conversations", tags=["conversations"])
EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {}}}
}


@router.get("")
async def list_conversations(
    session: ReadDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: str | None = None,
    search: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Pinned ones first, then the newest. `after` is the id of the last one seen. `search` looks into titles, questions
    and answers, and has one page."""
    if search.strip():
        return as_list(await conversation_search.search(session, caller, search, limit=limit))
    rows = await conversations.list_conversations(session, caller, limit=limit + 1, after=after)
    found = [Conversation.model_validate(row) for row in rows[:limit]]
    return as_list(found, has_more=len(rows) > limit)


@router.post("", status_code=201)
async def create_conversation(
    wanted: ConversationCreate, session: WriteDep, caller: CallerDep
) -> Conversation:
    """Send its id as `metadata: {"conversation": ...}` with each chat completion of it, and with `follows` the
    completion that the question comes after (`start` for none), where that is not the newest."""
    return Conversation.model_validate(await conversations.create_conversation(session, caller, wanted))


@router.get("/shared/{share}")
async def retrieve_shared_conversation(share: str, session: ReadDep, caller: CallerDep) -> SharedConversation:
    """For everybody who is signed in and was given the link."""
    return await sharing.shared(session, share)


@router.get("/{conversation_id}")
async def retrieve_conversation(
    conversation_id: str, session: ReadDep, caller: CallerDep
) -> ConversationTurns:
    return await conversations.with_turns(session, caller, conversation_id)


@router.patch("/{conversation_id}")
async def change_conversation(
    conversation_id: str, change: ConversationChange, session: WriteDep, caller: CallerDep
) -> Conversation:
    """Rename it, pin it, keep it from training, or choose the branch that is shown."""
    return Conversation.model_validate(await conversations.change(session, caller, conversation_id, change))


@router.delete("/{conversation_id}")
async def delete_conversation(conversation_id: str, session: WriteDep, caller: CallerDep) -> Deleted:
    """Take it out of the list. Its answers are erased within minutes; those that got feedback stay in the record."""
    await conversations.remove(session, caller, conversation_id)
    return Deleted(id=conversation_id, object="conversation")


@router.post("/{conversation_id}/share")
async def share_conversation(conversation_id: str, session: WriteDep, caller: CallerDep) -> Conversation:
    """Let everybody of the company who has the link read it as it is now. Again brings it up to date."""
    return Conversation.model_validate(await sharing.share(session, caller, conversation_id))


@router.delete("/{conversation_id}/share")
async def unshare_conversation(conversation_id: str, session: WriteDep, caller: CallerDep) -> Conversation:
    return Conversation.model_validate(await sharing.unshare(session, caller, conversation_id))


@router.get("/{conversation_id}/export", response_class=Response, responses=EXPORTS)
async def export_conversation(
    conversation_id: str,
    session: ReadDep,
    caller: CallerDep,
    form: Annotated[Literal["markdown", "json"], Query(alias="format")] = "markdown",
) -> Response:
    """The branch that is shown as Markdown to read, or everything as JSON."""
    found = await conversations.with_turns(session, caller, conversation_id)
    if form == "json":
        return Response(as_json(found), media_type="application/json")
    assistant = await assistants.get_assistant(session, found.assistant)
    page = as_markdown(found, assistant.title, caller.name)
    return Response(page, media_type="text/markdown; charset=utf-8")

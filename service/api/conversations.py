"""`/api/conversations`: a person's own conversations, found again after a reload or on another device."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.deps import CallerDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.feedback import Conversation, ConversationChange, ConversationCreate, ConversationTurns
from service.contract.files import Deleted
from service.domain import conversations

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.get("")
async def list_conversations(
    session: ReadDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> dict[str, Any]:
    """Newest first."""
    rows = await conversations.list_conversations(session, caller, limit=limit)
    return as_list([Conversation.model_validate(row) for row in rows])


@router.post("", status_code=201)
async def create_conversation(
    wanted: ConversationCreate, session: WriteDep, caller: CallerDep
) -> Conversation:
    """Send its id as `metadata: {"conversation": ...}` with each chat completion of it."""
    return Conversation.model_validate(await conversations.create_conversation(session, caller, wanted))


@router.get("/{conversation_id}")
async def retrieve_conversation(
    conversation_id: str, session: ReadDep, caller: CallerDep
) -> ConversationTurns:
    return await conversations.with_turns(session, caller, conversation_id)


@router.patch("/{conversation_id}")
async def rename_conversation(
    conversation_id: str, change: ConversationChange, session: WriteDep, caller: CallerDep
) -> Conversation:
    return Conversation.model_validate(
        await conversations.rename(session, caller, conversation_id, change.title)
    )


@router.delete("/{conversation_id}")
async def delete_conversation(conversation_id: str, session: WriteDep, caller: CallerDep) -> Deleted:
    """Take it out of the list. Answers that got feedback stay in the record."""
    await conversations.remove(session, caller, conversation_id)
    return Deleted(id=conversation_id, object="conversation")

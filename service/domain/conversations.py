"""Conversations: a person's own, kept on the server, each turn one completion. Never commits."""

from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import Message
from service.contract.feedback import Conversation, ConversationCreate, ConversationTurns, Turn, TurnStatus
from service.db import tables
from service.domain import assistants, feedback
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.errors import NotFound

TITLE = 60
"""Characters of the first question that become a conversation's title."""


async def create_conversation(
    session: AsyncSession, caller: Caller, wanted: ConversationCreate
) -> tables.Conversation:
    await assistants.get_assistant(session, wanted.assistant)
    conversation = tables.Conversation(
        id=new_id("conv_"), user_id=caller.user_id, assistant=wanted.assistant, title=wanted.title.strip(),
        created_at=now(), updated_at=now(),
    )  # fmt: skip
    session.add(conversation)
    await session.flush()
    return conversation


async def own_conversation(
    session: AsyncSession, caller: Caller, conversation_id: str
) -> tables.Conversation:
    """The caller's own; another's is not found, whatever the caller's role."""
    conversation = await session.get(tables.Conversation, conversation_id)
    if conversation is None or conversation.user_id != caller.user_id:
        raise NotFound(f"No conversation '{conversation_id}'.")
    return conversation


async def list_conversations(
    session: AsyncSession, caller: Caller, *, limit: int
) -> list[tables.Conversation]:
    query = select(tables.Conversation).where(tables.Conversation.user_id == caller.user_id)
    return list(await session.scalars(query.order_by(tables.Conversation.updated_at.desc()).limit(limit)))


async def with_turns(session: AsyncSession, caller: Caller, conversation_id: str) -> ConversationTurns:
    conversation = await own_conversation(session, caller, conversation_id)
    query = select(tables.Completion).where(
        tables.Completion.conversation_id == conversation_id, tables.Completion.deleted_at.is_(None)
    )
    completions = list(
        await session.scalars(query.order_by(tables.Completion.created_at, tables.Completion.id))
    )
    standing = await feedback.standing_of(session, caller.user_id, [c.id for c in completions])
    turns = [
        Turn(
            completion_id=c.id, question=Message.model_validate(c.messages[-1]).text(), answer=c.output,
            status=cast(TurnStatus, c.status), release=c.release_number, adapter=c.adapter,
            created_at=int(c.created_at), feedback=standing[c.id],
        )
        for c in completions
    ]  # fmt: skip
    return ConversationTurns(**Conversation.model_validate(conversation).model_dump(), turns=turns)


async def touch(session: AsyncSession, caller: Caller, conversation_id: str, question: str) -> None:
    """Note a new turn: the newest conversation comes first, and its first question names it."""
    conversation = await own_conversation(session, caller, conversation_id)
    conversation.updated_at = now()
    if not conversation.title:
        line = " ".join(question.split())
        conversation.title = line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"


async def rename(
    session: AsyncSession, caller: Caller, conversation_id: str, title: str
) -> tables.Conversation:
    conversation = await own_conversation(session, caller, conversation_id)
    conversation.title = title.strip()
    return conversation


async def remove(session: AsyncSession, caller: Caller, conversation_id: str) -> None:
    """Take a conversation out of the list. Its completions stay: feedback and datasets lead back to them."""
    await session.delete(await own_conversation(session, caller, conversation_id))

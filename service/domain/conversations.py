"""Conversations: a person's own, kept on the server, each turn one completion. Never commits.

Owns the tree of turns: a completion names the one it follows in its metadata (`follows`), or follows the one
before it in time. Two that follow the same one are branches, and one path through them is shown.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection
from typing import cast

from sqlalchemy import ColumnElement, bindparam, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import Message
from service.contract.conversations import (
    START,
    Conversation,
    ConversationChange,
    ConversationCreate,
    ConversationTurns,
    Turn,
    TurnStatus,
)
from service.db import tables
from service.domain import assistants, feedback
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.errors import BadInput, NotFound

_KEPT = (
    select(tables.Completion.id)
    .join(tables.Conversation, tables.Conversation.id == tables.Completion.conversation_id)
    .where(
        tables.Conversation.training.is_(False),
        tables.Completion.id.in_(bindparam("ids", expanding=True)),
    )
)
TITLE = 60
"""Characters of the first question that become a conversation's title."""


async def create_conversation(
    session: AsyncSession, caller: Caller, wanted: ConversationCreate
) -> tables.Conversation:
    await assistants.get_assistant(session, wanted.assistant)
    conversation = tables.Conversation(
        id=new_id("conv_"), user_id=caller.user_id, assistant=wanted.assistant, title=wanted.title.strip(),
        created_at=now(), updated_at=now(), pinned=False, training=True,
    )  # fmt: skip
    session.add(conversation)
    await session.flush()
    return conversation


async def own_conversation(
    session: AsyncSession, caller: Caller, conversation_id: str
) -> tables.Conversation:
    """The caller's own; another's is not found, whatever the caller's role."""
    conversation = await session.get(tables.Conversation, conversation_id)
    if conversation is None or conversation.user_id != caller.user_id or conversation.deleted_at:
        raise NotFound(f"No conversation '{conversation_id}'.")
    return conversation


async def list_conversations(
    session: AsyncSession, caller: Caller, *, limit: int | None = None, after: str | None = None
) -> list[tables.Conversation]:
    """Pinned ones first, then the newest; those behind the one with the id `after`. Raises `NotFound`."""
    row = tables.Conversation
    query = select(row).where(row.user_id == caller.user_id, row.deleted_at.is_(None))
    order = (row.pinned, row.updated_at, row.id)
    if after is not None:
        seen = await own_conversation(session, caller, after)
        query = query.where(tuple_(*order) < (seen.pinned, seen.updated_at, seen.id))
    ordered = query.order_by(*(column.desc() for column in order))
    return list(await session.scalars(ordered.limit(limit)))


async def with_turns(session: AsyncSession, caller: Caller, conversation_id: str) -> ConversationTurns:
    conversation = await own_conversation(session, caller, conversation_id)
    turns = await turns_of(session, conversation)
    standing = await feedback.standing_of(session, caller.user_id, [turn.completion_id for turn in turns])
    for turn in turns:
        turn.feedback = standing[turn.completion_id]
    shown = Conversation.model_validate(conversation).model_dump()
    return ConversationTurns(**shown, turns=turns, path=path_to(turns, conversation.shown))


async def turns_of(session: AsyncSession, conversation: tables.Conversation) -> list[Turn]:
    """All its turns in the order they were asked, without anybody's feedback."""
    query = select(tables.Completion).where(
        tables.Completion.conversation_id == conversation.id,
        tables.Completion.kind == "chat",  # older ones may hold a raw prompt, which is nobody's message
        tables.Completion.deleted_at.is_(None),
    )
    rows = list(await session.scalars(query.order_by(tables.Completion.created_at, tables.Completion.id)))
    turns: dict[str, Turn] = {}
    branches: dict[str | None, list[tables.Completion]] = defaultdict(list)
    latest: str | None = None
    for row in rows:
        named = row.metadata_.get("follows")
        follows = None if named == START else named if named in turns else latest
        latest = row.id
        branches[follows].append(row)
        turns[row.id] = Turn(
            completion_id=row.id, question=Message.model_validate(row.messages[-1]).text(), answer=row.output,
            status=cast(TurnStatus, row.status), release=row.release_number, adapter=row.adapter,
            created_at=int(row.created_at), feedback=feedback.Standing(), follows=follows,
            cut_off=row.finish_reason == "length",
        )  # fmt: skip
    for twins in branches.values():
        for row in twins if len(twins) > 1 else ():
            turns[row.id].prompt = _prompt(row)
    return list(turns.values())


def path_to(turns: list[Turn], shown: str | None) -> list[str]:
    """The ids of the turns on one path: through `shown`, else to the newest turn, and from there the newest on."""
    if not turns:
        return []
    follows = {turn.completion_id: turn.follows for turn in turns}
    following = {turn.follows: turn.completion_id for turn in turns}
    at = shown if shown in follows else turns[-1].completion_id
    path = [at]
    while (before := follows[path[0]]) is not None:
        path.insert(0, before)
    while (after := following.get(path[-1])) is not None:
        path.append(after)
    return path


async def touch(session: AsyncSession, caller: Caller, conversation_id: str, question: str) -> None:
    """Note a new turn: the newest conversation comes first, and its first question names it."""
    conversation = await own_conversation(session, caller, conversation_id)
    conversation.updated_at, conversation.shown = now(), None
    if not conversation.title:
        line = " ".join(question.split())
        conversation.title = line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"


async def change(
    session: AsyncSession, caller: Caller, conversation_id: str, wanted: ConversationChange
) -> tables.Conversation:
    """Raises `BadInput` when the branch to be shown is none of this conversation's."""
    conversation = await own_conversation(session, caller, conversation_id)
    if wanted.title is not None:
        conversation.title = wanted.title.strip()
    if wanted.pinned is not None:
        conversation.pinned = wanted.pinned
    if wanted.training is not None:
        conversation.training = wanted.training
        await _sort_again(session, conversation)
    if wanted.shown is not None:
        turn = await session.get(tables.Completion, wanted.shown)
        if turn is None or turn.conversation_id != conversation.id:
            raise BadInput("This conversation has no such turn.", param="shown")
        conversation.shown = wanted.shown
    return conversation


async def remove(session: AsyncSession, caller: Caller, conversation_id: str) -> None:
    """Take a conversation out of the list and end its sharing. Its answers are erased at the next round of upkeep;
    those stay to which feedback leads back, and so does the choice whether they may train."""
    conversation = await own_conversation(session, caller, conversation_id)
    conversation.deleted_at, conversation.title, conversation.share = now(), "", None
    conversation.shared_title = None
    await _sort_again(session, conversation)


async def kept_from_training(session: AsyncSession, completion_ids: Collection[str]) -> set[str]:
    """Those of these answers whose conversation its owner keeps from training."""
    return set(await session.scalars(_KEPT, {"ids": list(completion_ids)}))


def may_train() -> ColumnElement[bool]:
    """Of feedback: on no answer of a conversation that its owner keeps from training."""
    row, talk, given = tables.Completion, tables.Conversation, tables.Feedback
    # One look for each answer: a list of all that is kept would have to be made first.
    kept = [
        exists().where(row.id == answer, talk.id == row.conversation_id, talk.training.is_(False))
        for answer in (given.completion_id, given.preferred_completion_id)
    ]
    return ~or_(*kept)


async def _sort_again(session: AsyncSession, conversation: tables.Conversation) -> None:
    """What may be read of its answers, or learnt from them, has changed."""
    row = tables.Completion
    await feedback.sort_again(session, select(row.id).where(row.conversation_id == conversation.id))


def _prompt(row: tables.Completion) -> str:
    return hashlib.sha256(json.dumps(row.messages, sort_keys=True).encode()).hexdigest()[:16]

"""Conversations shared read-only inside the company, by a link that cannot be guessed. Never commits.

What is shared is the branch that was shown at that moment, under its title then: what is asked later, another name,
another branch and what was thought of the answers stay private. Whoever is signed in and has the link may read it,
until it is taken back.
"""

import secrets

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.conversations import SharedConversation, SharedTurn
from service.db import tables
from service.domain.conversations import own_conversation, path_to, turns_of
from service.domain.identity import now
from service.domain.keys import Caller
from service.errors import Conflict, NotFound


async def share(session: AsyncSession, caller: Caller, conversation_id: str) -> tables.Conversation:
    """Share it as it is shown now, or, where it is shared already, bring that up to date under the same link."""
    conversation = await own_conversation(session, caller, conversation_id)
    path = path_to(await turns_of(session, conversation), conversation.shown)
    if not path:
        raise Conflict("There is nothing to share yet. Ask something first.", code="nothing_to_share")
    conversation.share = conversation.share or secrets.token_urlsafe(18)
    conversation.shared_turn, conversation.shared_at = path[-1], now()
    conversation.shared_title = conversation.title
    return conversation


async def unshare(session: AsyncSession, caller: Caller, conversation_id: str) -> tables.Conversation:
    """The link opens nothing any more; again is harmless."""
    conversation = await own_conversation(session, caller, conversation_id)
    conversation.share = conversation.shared_turn = conversation.shared_at = conversation.shared_title = None
    return conversation


async def shared(session: AsyncSession, share: str) -> SharedConversation:
    """What the link shows. Raises `NotFound` for one that was taken back or never was."""
    query = select(tables.Conversation, tables.User.name).join(
        tables.User, tables.User.id == tables.Conversation.user_id
    )
    found = (await session.execute(query.where(tables.Conversation.share == share))).first()
    if found is None:
        raise NotFound("Nothing is shared under this link. It may have been taken back.", code="not_shared")
    conversation, person = found
    turns = {turn.completion_id: turn for turn in await turns_of(session, conversation)}
    path: list[SharedTurn] = []
    at = conversation.shared_turn
    while at in turns:
        turn = turns[at]
        path.insert(0, SharedTurn(**turn.model_dump(include=set(SharedTurn.model_fields))))
        at = turn.follows
    return SharedConversation(
        title=conversation.shared_title or "", assistant=conversation.assistant, person=person,
        shared_at=conversation.shared_at or conversation.updated_at, turns=path,
    )  # fmt: skip

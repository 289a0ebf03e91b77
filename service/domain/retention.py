"""How long what people said is kept: until they delete it, or as long as a setting allows. Never commits.

What feedback or an agreed verdict leads back to stays: it is somebody's word on an answer, and training data can be
traced to it. Everything else of such an answer goes, but for who asked which model when and how many tokens it took;
so do duels in which nobody chose, and what an import showed of its file.
"""

from sqlalchemy import Select, String, cast, delete, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.domain.identity import now

AT_ONCE = 500
"""Answers erased in one transaction, which nobody else waits for long."""

Row = tables.Completion
_holds_words = cast(Row.messages, String) != "[]"


async def erase_old(session: AsyncSession, days: int) -> int:
    """Erase up to `AT_ONCE` answers older than `days`. Returns how many; fewer: nothing is left."""
    return await _erase(session, _erasable().where(Row.created_at < _before(days)).order_by(Row.created_at))


async def erase_deleted(session: AsyncSession) -> int:
    """Erase up to `AT_ONCE` answers of conversations that their owners deleted. Returns how many, as above."""
    return await _erase(session, _deleted())


async def deleted_left(session: AsyncSession) -> bool:
    """Whether `erase_deleted` has anything to do. To look through all that was deleted needs no lock."""
    return await session.scalar(_deleted().limit(1)) is not None


async def forget_conversations(session: AsyncSession, days: int) -> int:
    """Remove old conversations of which nothing is left to see. Returns how many."""
    left = select(Row.id).where(Row.conversation_id == tables.Conversation.id, _holds_words)
    gone = await session.execute(
        delete(tables.Conversation)
        .where(tables.Conversation.updated_at < _before(days), ~left.exists())
        .returning(tables.Conversation.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


async def forget_duels(session: AsyncSession, days: int) -> int:
    """Remove old duels without a choice, their questions with them. Their answers are answers like any other.
    Returns how many."""
    row = tables.Duel
    gone = await session.execute(
        delete(row)
        .where(row.created_at < _before(days), row.status != "writing", row.feedback_id.is_(None))
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


async def forget_previews(session: AsyncSession, days: int) -> int:
    """Remove the rows that old imports showed of their files; what became of each file stays. Returns how many."""
    row = tables.Import
    shown = row.preview.is_not(None) & (cast(row.preview, String) != "null")
    gone = await session.execute(
        update(row)
        .where(row.created_at < _before(days), row.status != "running", shown)
        .values({row.preview: null()})
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


def _deleted() -> Select[str]:
    talk = tables.Conversation
    gone = select(talk.id).where(talk.deleted_at.is_not(None))
    own = select(talk.id).where(talk.id == Row.conversation_id, talk.user_id == Row.user_id)
    return _erasable().where(Row.conversation_id.in_(gone), own.exists())


def _erasable() -> Select[str]:
    """Ended answers that hold words and that nothing leads back to."""
    feedback = select(tables.Feedback.id).where(
        or_(tables.Feedback.completion_id == Row.id, tables.Feedback.preferred_completion_id == Row.id)
    )
    golden = select(tables.GoldenItem.completion_id).where(tables.GoldenItem.completion_id == Row.id)
    return select(Row.id).where(
        Row.status != "running", _holds_words, ~or_(feedback.exists(), golden.exists())
    )


async def _erase(session: AsyncSession, wanted: Select[str]) -> int:
    ids = list(await session.scalars(wanted.limit(AT_ONCE)))
    erased = {
        Row.messages: [], Row.output: "", Row.sampling: {}, Row.response: null(), Row.begun: null(),
        Row.metadata_: {}, Row.deleted_at: now(),
    }  # fmt: skip
    await session.execute(
        update(Row).where(Row.id.in_(ids)).values(erased).execution_options(synchronize_session=False)
    )
    return len(ids)


def _before(days: int) -> int:
    return now() - days * 86_400

"""How long what people said is kept: until they delete it, or as long as the house's rules allow. Never commits.

What feedback or an agreed verdict leads back to stays: it is somebody's word on an answer, and training data can be
traced to it. Everything else of such an answer goes, but for who asked which model when and how many tokens it took;
so do duels in which nobody chose, what an import showed of its file, and documents with their drafts.
"""

from sqlalchemy import ColumnElement, Select, String, and_, cast, delete, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.house_rules import Going
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
    left = _left()
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
        delete(row).where(*_undecided(days)).returning(row.id).execution_options(synchronize_session=False)
    )
    return len(gone.all())


async def forget_previews(session: AsyncSession, days: int) -> int:
    """Remove the rows that old imports showed of their files; what became of each file stays. Returns how many."""
    row = tables.Import
    gone = await session.execute(
        update(row)
        .where(*_previewed(days))
        .values({row.preview: null()})
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


async def forget_documents(session: AsyncSession, days: int) -> int:
    """Delete old documents with their drafts; what was filed of them stays. Returns how many."""
    row = tables.Document
    gone = await session.execute(
        delete(row)
        .where(row.created_at < _before(days))
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


async def going(session: AsyncSession, days: int) -> Going:
    """What would be erased now if it were kept for so many days."""
    talk, old = tables.Conversation, Row.created_at < _before(days)
    left = _left().where(~and_(old, *_free()))
    counts = {
        "answers": select(func.count()).select_from(Row).where(old, *_free()),
        "conversations": select(func.count())
        .select_from(talk)
        .where(talk.updated_at < _before(days), ~left.exists()),
        "duels": select(func.count()).select_from(tables.Duel).where(*_undecided(days)),
        "previews": select(func.count()).select_from(tables.Import).where(*_previewed(days)),
        "documents": select(func.count())
        .select_from(tables.Document)
        .where(tables.Document.created_at < _before(days)),
    }
    return Going(days=days, **{name: await session.scalar(count) or 0 for name, count in counts.items()})


def _left() -> Select[str]:
    """What still stands in a conversation."""
    return select(Row.id).where(Row.conversation_id == tables.Conversation.id, _holds_words)


def _undecided(days: int) -> list[ColumnElement[bool]]:
    row = tables.Duel
    return [row.created_at < _before(days), row.status != "writing", row.feedback_id.is_(None)]


def _previewed(days: int) -> list[ColumnElement[bool]]:
    row = tables.Import
    shown = row.preview.is_not(None) & (cast(row.preview, String) != "null")
    return [row.created_at < _before(days), row.status != "running", shown]


def _deleted() -> Select[str]:
    talk = tables.Conversation
    gone = select(talk.id).where(talk.deleted_at.is_not(None))
    own = select(talk.id).where(talk.id == Row.conversation_id, talk.user_id == Row.user_id)
    return _erasable().where(Row.conversation_id.in_(gone), own.exists())


def _erasable() -> Select[str]:
    """Ended answers that hold words and that nothing leads back to."""
    return select(Row.id).where(*_free())


def _free() -> list[ColumnElement[bool]]:
    feedback = select(tables.Feedback.id).where(
        or_(tables.Feedback.completion_id == Row.id, tables.Feedback.preferred_completion_id == Row.id)
    )
    golden = select(tables.GoldenItem.completion_id).where(tables.GoldenItem.completion_id == Row.id)
    return [Row.status != "running", _holds_words, ~or_(feedback.exists(), golden.exists())]


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

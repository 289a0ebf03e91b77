"""Reviews: verdicts given and undone, and what they keep out of training. Never commits.

A verdict is given before the others' are read. A correction in it is feedback like any other, so that what it teaches
leads back to who wrote it.
"""

import time
from collections.abc import Collection, Iterable
from typing import Any, cast

from sqlalchemy import bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.contract.chat import Message
from service.contract.feedback import FeedbackCreate
from service.contract.reviews import (
    Opinion,
    Review,
    ReviewCreate,
    ReviewItem,
    ReviewQueue,
    Said,
    SkipReason,
    Verdict,
    Why,
)
from service.db import tables
from service.domain import feedback, review_queue, topics
from service.domain.identity import new_id
from service.domain.keys import Caller
from service.domain.review_queue import Item
from service.errors import Conflict, NotFound
from service.storage.local import Store

_EARLIER = aliased(tables.Completion)
_AFTER_PERSONAL_DATA = (
    select(tables.Completion.id)
    .join(_EARLIER, _EARLIER.conversation_id == tables.Completion.conversation_id)
    .join(tables.Review, tables.Review.completion_id == _EARLIER.id)
    .where(
        tables.Completion.id.in_(bindparam("ids", expanding=True)),
        _EARLIER.created_at <= tables.Completion.created_at,
        tables.Review.personal_data,
        tables.Review.undone_at.is_(None),
    )
)
WEEK = 7 * 86_400.0


async def next_item(
    session: AsyncSession, store: Store, caller: Caller, waiting: review_queue.Waiting
) -> ReviewQueue:
    """The first of what waits for the caller, reserved for them. `waiting` may be a moment old."""
    held = await review_queue.reserve(session, caller, waiting)
    judged, this_week = await _judged(session, caller)
    by_id: dict[str, tuple[Item, Why]] = {item.completion_id: (item, why) for item, why in waiting.items}
    return ReviewQueue(
        item=await _item(session, store, held, *by_id[held.completion_id]) if held else None,
        waiting=waiting.count, more=waiting.more, own=waiting.own, judged=judged, judged_this_week=this_week,
    )  # fmt: skip


async def give(session: AsyncSession, caller: Caller, wanted: ReviewCreate) -> tables.Review:
    """Save a verdict on an answer that waits for the caller. Raises `Conflict` when it does not, or not any more."""
    found = await review_queue.waits_for(session, caller, wanted.completion_id)
    if found is None:
        raise Conflict(
            "This answer does not wait for your verdict: it is decided, somebody else is judging it, or you judged "
            "it or said something of it before. Go on to the next.",
            code="review_not_waiting",
        )
    item, why = found
    completion = await session.get_one(tables.Completion, wanted.completion_id)
    said = None
    if wanted.verdict == "correct" and item.golden is None:
        correction = FeedbackCreate(
            completion_id=completion.id, type="correction", correction=wanted.correction
        )
        said = await feedback.give(session, caller, correction)
    row = tables.Review(
        id=new_id("rev_"), assistant=completion.assistant, user_id=caller.user_id, key_id=caller.key_id,
        why=why, expected=item.golden.expected if item.golden else None, feedback_id=said.id if said else None,
        at=time.time(), undone_at=None, **wanted.model_dump(),
    )  # fmt: skip
    session.add(row)
    await review_queue.let_go(session, completion.id)
    await session.flush()
    await sort_again(session, row)
    return row


async def undo(session: AsyncSession, caller: Caller, review_id: str) -> tables.Review:
    """Take one's own verdict back, its correction too. Again is harmless.

    The answer then waits again: for the same person only when there was no verdict to be read after their own.
    """
    row = await own_review(session, caller, review_id)
    if row.undone_at is None:
        row.undone_at = time.time()
        if row.feedback_id is not None:
            await feedback.retract(session, caller, row.feedback_id)
        await session.flush()
        await sort_again(session, row)
    return row


async def sort_again(session: AsyncSession, row: tables.Review) -> None:
    """What was said of the answer, and, where the verdict says what it is about or that it holds personal data, of
    those of its conversation."""
    wide = row.topic or row.personal_data
    wanted = await topics.near(session, row.completion_id) if wide else [row.completion_id]
    await feedback.sort_again(session, wanted)


async def own_review(session: AsyncSession, caller: Caller, review_id: str) -> tables.Review:
    row = await session.get(tables.Review, review_id)
    if row is None or row.user_id != caller.user_id:
        raise NotFound(f"No review '{review_id}' of yours.")
    return row


async def list_reviews(session: AsyncSession, caller: Caller, *, limit: int) -> list[tables.Review]:
    """The caller's own, newest first: nobody reads others' verdicts but beside their own."""
    row = tables.Review
    query = select(row).where(row.user_id == caller.user_id).order_by(row.at.desc()).limit(limit)
    return list(await session.scalars(query))


def withheld(items: Iterable[Item]) -> dict[str, str]:
    """What must not be learnt from among these answers and what was said of them, by id, and why. For items with those
    that were deleted.

    The id of a completion withholds all feedback on it, and every pair it stands in: `golden`, `personal_data`,
    `rejected`, or `disputed` until a third person has decided. The id of one feedback withholds that alone:
    `replaced`, a correction beside the one that the verdict wrote or kept.
    """
    found: dict[str, str] = {}
    for item in items:
        if (reason := _reason(item)) is not None:
            found[item.completion_id] = reason
        found |= dict.fromkeys(_replaced(item), "replaced")
    return found


async def after_personal_data(session: AsyncSession, completion_ids: Collection[str]) -> set[str]:
    """Those of these answers that come after one with personal data in their conversation: it was read with their
    question, so it would stand in what they teach."""
    return set(await session.scalars(_AFTER_PERSONAL_DATA, {"ids": list(completion_ids)}))


async def shown(session: AsyncSession, rows: list[tables.Review]) -> list[Review]:
    """Reviews as their author sees them, each with what the others said, unless it was undone."""
    ids = [row.completion_id for row in rows]
    found = await review_queue.items_of(session, ids, deleted=True)
    names = {user.id: user.name for user in await session.scalars(select(tables.User))}
    return [_shown(row, found.get(row.completion_id) or Item(row.completion_id), names) for row in rows]


def _reason(item: Item) -> str | None:
    if item.golden is not None:
        return "golden"
    if item.personal:
        return "personal_data"
    return {"reject": "rejected", "disputed": "disputed"}.get(item.outcome or "")


def _replaced(item: Item) -> set[str]:
    """The corrections that the verdict put aside."""
    written = [one.feedback_id for one in item.verdicts if one.feedback_id]
    if item.outcome == "correct":
        kept = next((one for one in reversed(written)), None)
        others = {one.id for one in item.said if one.type == "correction"}
        return (others | set(written)) - {kept} if kept else set()
    return set(written) if item.outcome in ("approve", "reject") else set()


async def _item(
    session: AsyncSession, store: Store, held: tables.ReviewReservation, item: Item, why: Why
) -> ReviewItem:
    completion = await session.get_one(tables.Completion, held.completion_id)
    assistant = await session.scalar(
        select(tables.Assistant).where(tables.Assistant.name == completion.assistant)
    )
    about = await topics.topics_of(session, [completion.id])
    spoken = [message for message in completion.messages if message.get("role") in ("user", "assistant")]
    turns = [{"role": str(one["role"]), "content": Message.model_validate(one).text()} for one in spoken]
    return ReviewItem(
        completion_id=completion.id, assistant=completion.assistant or "", why="audit" if why == "golden" else why,
        before=turns[:-1], question=turns[-1]["content"] if turns else "", answer=completion.output,
        release=completion.release_number, said=[await _said(session, one.id) for one in item.said],
        topic=about.get(completion.id),
        topics=await topics.known(session, store, assistant) if assistant is not None else [],
        reserved_until=int(held.expires_at),
    )  # fmt: skip


async def _said(session: AsyncSession, feedback_id: str) -> Said:
    row = await session.get_one(tables.Feedback, feedback_id)
    other = await session.get(tables.Completion, row.preferred_completion_id or "")
    return Said(
        type=cast(Any, row.type), rating=row.rating, reasons=row.reasons, comment=row.comment,
        correction=row.correction, preferred=other.output if other else None,
    )  # fmt: skip


async def _judged(session: AsyncSession, caller: Caller) -> tuple[int, int]:
    """How many verdicts of the caller stand, and how many of them are of the last seven days."""
    row = tables.Review
    lately = func.count(case((row.at > time.time() - WEEK, 1)))
    query = select(func.count(), lately).where(row.user_id == caller.user_id, row.undone_at.is_(None))
    judged, this_week = (await session.execute(query)).one()
    return judged, this_week


def _opinion(row: tables.Review, name: str) -> Opinion:
    return Opinion(
        name=name, verdict=cast(Verdict, row.verdict), correction=row.correction, comment=row.comment,
        personal_data=row.personal_data, created_at=int(row.at),
    )  # fmt: skip


def _shown(row: tables.Review, item: Item, names: dict[str, str]) -> Review:
    outcome, others = None, []
    if row.undone_at is None:
        outcome = item.outcome
        others = [
            _opinion(one, names[one.user_id])
            for one in item.reviews
            if one.user_id != row.user_id and one.verdict != "skip"
        ]
    # Who skipped has not judged: that an answer is golden, and what is expected, stays unsaid.
    why, expected = ("audit", None) if row.verdict == "skip" and row.expected else (row.why, row.expected)
    return Review(
        id=row.id, completion_id=row.completion_id, assistant=row.assistant or "",
        verdict=cast(Verdict, row.verdict), why=cast(Why, why), correction=row.correction,
        skip_reason=cast(SkipReason | None, row.skip_reason), rubric=row.rubric, comment=row.comment,
        personal_data=row.personal_data, topic=row.topic, expected=cast(Verdict | None, expected),
        outcome=outcome, others=others, feedback_id=row.feedback_id,
        undone=row.undone_at is not None, created_at=int(row.at),
    )  # fmt: skip

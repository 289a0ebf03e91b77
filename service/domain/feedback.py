"""What people thought of answers: saved before it is confirmed, never changed, taken back by a new row.

Owns the rule of what a person's feedback amounts to now. Knows no HTTP and never commits.
"""

import time
from collections.abc import Collection
from typing import cast

from sqlalchemy import ColumnElement, Select, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.contract.feedback import Feedback, FeedbackCreate, FeedbackType, Outcome, Preference, Standing
from service.db import tables
from service.domain import completions, response_objects
from service.domain.identity import new_id, pseudonym
from service.domain.keys import Caller
from service.errors import BadInput, Conflict, NotFound


async def give(session: AsyncSession, caller: Caller, wanted: FeedbackCreate) -> tables.Feedback:
    """Save one signal. It supersedes what the caller said of the same before: a rating or a correction of that answer,
    a preference between the same two answers."""
    completion = await completions.get_visible(session, caller, wanted.completion_id)
    if completion.status == "running":
        raise Conflict(
            "This answer is still being written. Send the feedback when it has ended.",
            code="answer_not_ended",
        )
    other = None
    if wanted.preferred_completion_id is not None:
        other = await completions.get_visible(session, caller, wanted.preferred_completion_id)
        if other.id == completion.id:
            raise BadInput("An answer cannot be preferred to itself.", param="preferred_completion_id")
        if other.messages != completion.messages:
            raise BadInput(
                "The two answers were given to different prompts; a preference compares answers to one prompt.",
                param="preferred_completion_id",
            )
    earlier = await _latest(session, caller.user_id, completion.id, wanted.type, other.id if other else None)
    row = tables.Feedback(
        id=new_id("fb_"), completion_id=completion.id, user_id=caller.user_id, key_id=caller.key_id,
        assistant=completion.assistant, type=wanted.type, rating=wanted.rating, reasons=list(wanted.reasons),
        comment=wanted.comment, correction=wanted.correction, supersedes=earlier.id if earlier else None,
        preferred_completion_id=other.id if other else None, at=time.time(),
        preference=(wanted.preference or "better") if wanted.type == "preference" else None,
        left_completion_id=wanted.left_completion_id and response_objects.completion_id(wanted.left_completion_id),
    )  # fmt: skip
    session.add(row)
    await session.flush()
    await _judged_anew(session, completion.id)
    return row


async def retract(session: AsyncSession, caller: Caller, feedback_id: str) -> tables.Feedback:
    """Take one's own feedback back: a new row of type `retraction`. Again is harmless."""
    row = await session.get(tables.Feedback, feedback_id)
    if row is None or row.user_id != caller.user_id or row.type == "retraction":
        raise NotFound(f"No feedback '{feedback_id}' of yours.")
    query = select(tables.Feedback).where(
        tables.Feedback.supersedes == row.id, tables.Feedback.type == "retraction"
    )
    done = await session.scalar(query)
    if done is not None:
        return done
    retraction = tables.Feedback(
        id=new_id("fb_"), completion_id=row.completion_id, user_id=caller.user_id, key_id=caller.key_id,
        assistant=row.assistant, type="retraction", rating=None, reasons=[], comment=None, correction=None,
        preferred_completion_id=None, preference=None, supersedes=row.id, at=time.time(),
    )  # fmt: skip
    session.add(retraction)
    await session.flush()
    await _judged_anew(session, row.completion_id)
    return retraction


async def sort_again(session: AsyncSession, completions: Collection[str] | Select[str]) -> None:
    """Let what was said of these answers be judged once more by the rules of what trains: something they look at
    has changed."""
    row = tables.Feedback
    mine = or_(row.completion_id.in_(completions), row.preferred_completion_id.in_(completions))
    await session.execute(
        update(row).where(mine, row.sorted).values(sorted=False).execution_options(synchronize_session=False)
    )


async def list_feedback(
    session: AsyncSession, caller: Caller, *, assistant: str | None, completion_id: str | None, limit: int
) -> list[tables.Feedback]:
    """Newest first; a user sees their own, a reviewer everybody's."""
    query = select(tables.Feedback)
    if not caller.may("reviewer"):
        query = query.where(tables.Feedback.user_id == caller.user_id)
    if assistant is not None:
        query = query.where(tables.Feedback.assistant == assistant)
    if completion_id is not None:
        query = query.where(tables.Feedback.completion_id == response_objects.completion_id(completion_id))
    return list(await session.scalars(query.order_by(tables.Feedback.at.desc()).limit(limit)))


async def standing_of(session: AsyncSession, user_id: str, completion_ids: list[str]) -> dict[str, Standing]:
    """What one person's feedback on each of these completions amounts to now."""
    query = select(tables.Feedback).where(
        tables.Feedback.user_id == user_id, tables.Feedback.completion_id.in_(completion_ids)
    )
    result = {completion_id: Standing() for completion_id in completion_ids}
    for row in in_force(list(await session.scalars(query))):
        standing = result[row.completion_id]
        if row.type == "rating":
            standing.rating, standing.rating_id = row.rating, row.id
            standing.reasons, standing.comment = row.reasons, row.comment
        elif row.type == "correction":
            standing.correction, standing.correction_id = row.correction, row.id
        elif row.type == "preference" and row.preferred_completion_id:
            verdict = cast(Outcome, row.preference or "better")
            standing.preferences.append(
                Preference(
                    feedback_id=row.id,
                    preferred_completion_id=row.preferred_completion_id,
                    preference=verdict,
                )
            )
    return result


def in_force(rows: list[tables.Feedback]) -> list[tables.Feedback]:
    """The rows that no later row replaced or took back, oldest first."""
    gone = {row.supersedes for row in rows if row.supersedes}
    return sorted((r for r in rows if r.id not in gone and r.type != "retraction"), key=lambda r: r.at)


def is_standing() -> ColumnElement[bool]:
    """The same of a row of `feedback`, asked by the database: it need not have read the later one."""
    later = aliased(tables.Feedback)
    superseded = select(later.id).where(later.supersedes == tables.Feedback.id).exists()
    return ~superseded & (tables.Feedback.type != "retraction")


def shown(row: tables.Feedback) -> Feedback:
    return Feedback(
        id=row.id, completion_id=row.completion_id, type=cast(FeedbackType, row.type), rating=row.rating,
        reasons=row.reasons, comment=row.comment, correction=row.correction,
        preferred_completion_id=row.preferred_completion_id,
        preference=cast(Outcome | None, row.preference), left_completion_id=row.left_completion_id,
        person=pseudonym(row.user_id), supersedes=row.supersedes, created_at=int(row.at),
    )  # fmt: skip


async def _judged_anew(session: AsyncSession, completion_id: str) -> None:
    """A reviewer's verdict counts for what was said before it: a new word makes it count no more."""
    if await session.scalar(select(exists().where(tables.Review.completion_id == completion_id))):
        await sort_again(session, [completion_id])


async def _latest(
    session: AsyncSession, user_id: str, completion_id: str, type_: str, other_id: str | None
) -> tables.Feedback | None:
    """What a person said last of an answer, or of two, whichever way round they were compared."""
    answers = {completion_id, other_id} - {None}
    query = select(tables.Feedback).where(
        tables.Feedback.user_id == user_id, tables.Feedback.completion_id.in_(answers)
    )
    standing = in_force(list(await session.scalars(query)))
    rows = [row for row in standing if row.type == type_ and answers == _answers(row)]
    return rows[-1] if rows else None


def _answers(row: tables.Feedback) -> set[str | None]:
    return {row.completion_id, row.preferred_completion_id} - {None}

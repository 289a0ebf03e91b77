"""From a person's feedback forward: which release learnt from it, and what it answers now. Never commits.

A release learnt from a feedback when the feedback stands in that file of a dataset whose bytes its job was trained
on, or in rows of it that were brought back, or in those of a release it went on from: see `lineage`. Knows only the
asking person's own feedback and answers.
"""

from functools import cache
from typing import cast

from sqlalchemy import Select, Subquery, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.contract.chat import Message
from service.contract.feedback import FeedbackType
from service.contract.learnt import Answered, Learnt, LearntList
from service.db import tables
from service.domain import feedback, lineage
from service.domain.conversations import may_train
from service.domain.keys import Caller


async def learnt(session: AsyncSession, caller: Caller, *, limit: int) -> LearntList:
    """What the caller's feedback changed, and how much of it waits."""
    first = await _first_releases(session, caller)
    row = tables.Feedback
    learned = select(row).where(row.user_id == caller.user_id, row.id.in_(first)).order_by(row.at.desc())
    found = [
        await _one(session, caller, one, first[one.id]) for one in await session.scalars(learned.limit(limit))
    ]
    return LearntList(learnt=found, waiting=len(await _standing(session, caller) - first.keys()))


async def _standing(session: AsyncSession, caller: Caller) -> set[str]:
    """Ids of the caller's feedback that a round may learn from: not replaced, not taken back, not kept private."""
    return set(await session.scalars(_of_standing(), {"user": caller.user_id}))


async def _first_releases(session: AsyncSession, caller: Caller) -> dict[str, int]:
    """Number of the first release that learnt from each of the caller's feedbacks, by the feedback's id."""
    first: dict[str, int] = {}
    for query in (_of_first_releases(), _of_first_releases_by_rows()):
        for id_, number in await session.execute(query, {"user": caller.user_id}):
            first[id_] = min(number, first.get(id_, number))
    return first


@cache
def _of_standing() -> Select[str]:
    """Made once, as the next one: it takes longer than to answer."""
    row = tables.Feedback
    mine = row.user_id == bindparam("user")
    return select(row.id).where(mine, row.assistant.is_not(None), feedback.is_standing(), may_train())


@cache
def _of_first_releases() -> Select[str, int]:
    row, dataset, first = tables.DatasetRow, tables.Dataset, _first_by_file()
    file = case((row.split == "train", dataset.training_file), else_=dataset.validation_file)
    return (
        select(row.feedback_id, func.min(first.c.number))
        .join(tables.Feedback, tables.Feedback.id == row.feedback_id)
        .join(dataset, dataset.id == row.dataset_id)
        .join(first, (first.c.file == file) & (first.c.assistant == tables.Feedback.assistant))
        .where(tables.Feedback.user_id == bindparam("user"))
        .group_by(row.feedback_id)
    )


@cache
def _of_first_releases_by_rows() -> Select[str, int]:
    """The same by files that were brought, whose rows say what they were made of."""
    row, first = tables.FileRow, _first_by_file()
    return (
        select(row.feedback_id, func.min(first.c.number))
        .join(tables.Feedback, tables.Feedback.id == row.feedback_id)
        .join(first, (first.c.file == row.file_id) & (first.c.assistant == tables.Feedback.assistant))
        .where(tables.Feedback.user_id == bindparam("user"))
        .group_by(row.feedback_id)
    )


def _first_by_file() -> Subquery:
    """`file`, `assistant` and `number` of the assistant's first release that was trained on the file's bytes."""
    given, same, release = tables.File, aliased(tables.File), tables.Release
    return (
        select(same.id.label("file"), release.assistant, func.min(release.number).label("number"))
        .join(given, given.sha256 == same.sha256)
        .join(tables.Job, tables.Job.training_file == given.id)
        .join(release, release.job_id == tables.Job.id)
        .group_by(same.id, release.assistant)
        .subquery()
    )


async def _one(session: AsyncSession, caller: Caller, row: tables.Feedback, release: int) -> Learnt:
    then = await session.get_one(tables.Completion, row.completion_id)
    used = (await lineage.of_feedback(session, caller, row.id)).releases
    learned = [one for one in used if one.learned and one.assistant == row.assistant]
    conversation = await session.get(tables.Conversation, then.conversation_id or "")
    there = (
        conversation is not None and conversation.user_id == caller.user_id and not conversation.deleted_at
    )
    return Learnt(
        feedback_id=row.id, type=cast(FeedbackType, row.type), rating=row.rating, correction=row.correction,
        given_at=int(row.at), assistant=row.assistant or "", release=release, live=any(one.live for one in learned),
        conversation_id=then.conversation_id if there else None,
        question=Message.model_validate(then.messages[-1]).text(), then=_answered(then),
        now=await _now(session, caller, then, {one.number for one in learned}),
    )  # fmt: skip


async def _now(
    session: AsyncSession, caller: Caller, then: tables.Completion, releases: set[int]
) -> Answered | None:
    query = (
        select(tables.Completion)
        .where(
            tables.Completion.user_id == caller.user_id,
            tables.Completion.assistant == then.assistant,
            tables.Completion.release_number.in_(releases),
            tables.Completion.created_at > then.created_at,
            tables.Completion.status == "complete",
            tables.Completion.deleted_at.is_(None),
        )
        .order_by(tables.Completion.created_at.desc())
        .limit(500)
    )
    for row in await session.scalars(query):
        if row.messages and row.messages[-1] == then.messages[-1]:
            return _answered(row)
    return None


def _answered(row: tables.Completion) -> Answered:
    return Answered(
        completion_id=row.id, answer=row.output, release=row.release_number, created_at=int(row.created_at)
    )

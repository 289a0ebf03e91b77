"""Answers whose verdict is agreed on: shown to every reviewer among the others, so that all judge alike. Never commits.

They never train. Who has not judged one yet does not learn that it is one, nor what is expected; so a reviewer
judges an answer before they agree on its verdict. Administrators, who prepare the checks, need not.
"""

from typing import cast

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import Message
from service.contract.reviews import GoldenCreate, GoldenItem, Verdict
from service.db import tables
from service.domain import completions, feedback
from service.domain.identity import now
from service.domain.keys import Caller
from service.errors import Conflict, NotFound


async def put(
    session: AsyncSession, caller: Caller, completion_id: str, wanted: GoldenCreate
) -> tables.GoldenItem:
    """Agree on a verdict. The same again is harmless; another is a conflict, as reviewers were held to it."""
    completion = await completions.get_visible(session, caller, completion_id)
    if completion.status != "complete":
        raise Conflict("Only an answer that ended whole can be judged.")
    row = await session.get(tables.GoldenItem, completion.id)
    # Whether one is there already must not show in what is said to who has not judged it.
    own = row is not None and row.user_id == caller.user_id
    if not (own or caller.may("administrator") or await _judged(session, caller, completion.id)):
        raise Conflict(
            "Judge this answer first. The verdict on it is agreed on by who gave one. Where you cannot, ask an "
            "administrator.",
            code="golden_unjudged",
        )
    if row is None:
        row = tables.GoldenItem(
            completion_id=completion.id, user_id=caller.user_id, created_at=now(), **wanted.model_dump()
        )
        session.add(row)
        await session.flush()
        await feedback.sort_again(session, [completion.id])
    elif row.expected != wanted.expected:
        raise Conflict(
            "Another verdict is agreed on for this answer. Remove that first.", code="golden_differs"
        )
    return row


async def remove(session: AsyncSession, completion_id: str) -> None:
    """It waits and trains like any other again. Again is harmless."""
    row = tables.GoldenItem
    await session.execute(delete(row).where(row.completion_id == completion_id))
    await feedback.sort_again(session, [completion_id])


async def list_known(session: AsyncSession, caller: Caller) -> list[GoldenItem]:
    """Those that the caller chose or has judged already, newest first."""
    rows = list(
        await session.scalars(select(tables.GoldenItem).order_by(tables.GoldenItem.created_at.desc()))
    )
    ids = [row.completion_id for row in rows]
    query = select(tables.Review).where(
        tables.Review.completion_id.in_(ids), tables.Review.expected.is_not(None),
        tables.Review.undone_at.is_(None), tables.Review.verdict != "skip",
    )  # fmt: skip
    reviews = list(await session.scalars(query))
    known = {one.completion_id for one in reviews if one.user_id == caller.user_id}
    mine = [row for row in rows if row.user_id == caller.user_id or row.completion_id in known]
    return [await shown(session, row, reviews) for row in mine]


async def shown(
    session: AsyncSession, row: tables.GoldenItem, reviews: list[tables.Review] | None = None
) -> GoldenItem:
    completion = await session.get(tables.Completion, row.completion_id)
    if completion is None:
        raise NotFound(f"No recorded completion '{row.completion_id}'.")
    judged = [one for one in reviews or () if one.completion_id == row.completion_id]
    return GoldenItem(
        completion_id=row.completion_id, assistant=completion.assistant or "",
        expected=cast(Verdict, row.expected), note=row.note,
        question=Message.model_validate(completion.messages[-1]).text(), judged=len(judged),
        as_expected=sum(one.verdict == row.expected for one in judged), created_at=row.created_at,
    )  # fmt: skip


async def _judged(session: AsyncSession, caller: Caller, completion_id: str) -> bool:
    row = tables.Review
    mine = select(row.id).where(
        row.completion_id == completion_id, row.user_id == caller.user_id,
        row.undone_at.is_(None), row.verdict != "skip",
    )  # fmt: skip
    return await session.scalar(mine.limit(1)) is not None

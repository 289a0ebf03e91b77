"""What happened to an assistant, newest first, from what is kept anyway. Never commits.

Only what was said on a day that is over is counted once and kept, as there may be a million pieces of feedback. One
query finds a page's moments over all the tables that tell of any; what each says is read after, a table at once.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Float,
    Select,
    String,
    and_,
    case,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import cast as cast_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.contract.timeline import Given, Moment, What
from service.db import tables
from service.domain import assistants
from service.domain.paging import strange

DAY = 86_400
LATE = 3600
"""Seconds after a day's end at which all that was said on it stands in the database."""
CHANGES: dict[str, What] = {"assistant.created": "created", "assistant.changed": "changed"}
"""The acts of the journal that are told here, with less than the journal tells."""

Read = Callable[[AsyncSession, str, Sequence[str]], Coroutine[Any, Any, dict[str, Moment]]]
"""What the moments with these ids say, by id."""


async def timeline(
    session: AsyncSession, name: str, *, after: str | None, limit: int
) -> tuple[list[Moment], bool]:
    """At most `limit` moments behind the one called `after`, and whether older ones follow. Raises `NotFound`, and
    `BadInput` for a strange cursor."""
    await assistants.get_assistant(session, name)
    index = union_all(*_indexes(name, await _first_uncounted(session))).subquery()
    place = tuple_(index.c.at, index.c.rank, index.c.id)
    query = select(index.c.rank, index.c.id).order_by(
        index.c.at.desc(), index.c.rank.desc(), index.c.id.desc()
    )
    if after is not None:
        rank, _, id_ = after.partition("-")
        seen = select(index).where(cast_(index.c.rank, String) == rank, index.c.id == id_)
        last = (await session.execute(seen)).first()
        if last is None:
            raise strange(after)
        query = query.where(place < tuple_(literal(last.at), literal(last.rank), literal(last.id)))
    found = (await session.execute(query.limit(limit + 1))).all()
    read: dict[tuple[int, str], Moment] = {}
    for rank in {row.rank for row in found[:limit]}:
        ids = [row.id for row in found[:limit] if row.rank == rank]
        told = await READERS[rank](session, name, ids)
        read |= {(rank, id_): moment for id_, moment in told.items()}
    page = [read[row.rank, row.id].model_copy(update={"id": f"{row.rank}-{row.id}"}) for row in found[:limit]]
    return page, len(found) > limit


async def finished_days(session: AsyncSession, at: float) -> list[dict[str, Any]]:
    """Rows for the days that are over at this moment and were not counted yet."""
    first, today = await _first_uncounted(session), int(at - LATE) // DAY
    query = _counts(first, tables.Feedback.at < today * DAY + 1, _day() < today)
    return [dict(row._mapping) for row in await session.execute(query)]


async def keep_days(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Keep them; again is harmless."""
    for row in rows:
        await session.merge(tables.FeedbackDay(**row))


def _indexes(name: str, uncounted: int) -> list[Select[Any, int, Any]]:
    """When each moment was: its time, the rank of its reader, its id. Within a second the rank says what followed."""
    job, release, move, kept = tables.Job, tables.Release, tables.Move, tables.FeedbackDay
    evaluation, entry = tables.Evaluation, tables.AuditEntry
    counted = _counts(uncounted, tables.Feedback.assistant == name).subquery().c
    return [
        _index(0, counted.at, counted.day),
        _index(0, kept.at, kept.day).where(kept.assistant == name),
        _index(1, job.created_at, job.id).where(job.assistant == name, job.kind != "evaluation"),
        _index(2, release.created_at, release.id).where(release.assistant == name),
        _index(3, evaluation.created_at, evaluation.id).where(evaluation.assistant == name),
        _index(4, move.created_at, move.id).where(move.assistant == name),
        _index(5, entry.at, entry.id).where(entry.subject == name, entry.action.in_(CHANGES)),
    ]


def _index(rank: int, at: Any, id_: Any) -> Select[Any, int, Any]:
    return select(cast_(at, Float).label("at"), literal(rank).label("rank"), cast_(id_, String).label("id"))


def _day(row: Any = tables.Feedback) -> Any:
    """The number of a day in UTC: whole seconds first, for databases divide fractions each in a way of its own; and no
    parameter in it, for by those Postgres would not know again what it groups by."""
    return cast_(row.at, BigInteger) // literal_column(str(DAY), BigInteger)


async def _first_uncounted(session: AsyncSession) -> int:
    """The first day of which no counts are kept, of any assistant: all that are over are counted at once."""
    last = await session.scalar(select(func.max(tables.FeedbackDay.day)))
    return 0 if last is None else last + 1


def _counts(first: int, *conditions: Any) -> Select[str | None, Any, float, Any, Any, Any, Any, int]:
    """What `feedback_days` keeps, counted, from a day on: of each day, what stood when it was over."""
    row, day, later = tables.Feedback, _day(), aliased(tables.Feedback)
    changed = select(later.id).where(later.supersedes == row.id, _day(later) == day).exists()

    def count(*conditions: Any) -> Any:
        return func.count(case((and_(*conditions), 1)))

    return (
        select(
            row.assistant, day.label("day"), func.max(row.at).label("at"),
            count(row.type == "rating", row.rating > 0).label("up"),
            count(row.type == "rating", row.rating < 0).label("down"),
            count(row.type == "correction").label("corrections"),
            count(row.type == "preference").label("preferences"),
            func.count(row.user_id.distinct()).label("people"),
        )
        .where(row.assistant.is_not(None), row.type != "retraction", row.at >= first * DAY - 1, day >= first)
        .where(~changed, *conditions).group_by(row.assistant, day)
    )  # fmt: skip


async def _feedback(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    kept, days = tables.FeedbackDay, [int(id_) for id_ in ids]
    query = select(kept.__table__).where(kept.assistant == name, kept.day.in_(days))
    found = list(await session.execute(query))
    rest = set(days) - {row.day for row in found}
    if rest:
        found += await session.execute(
            _counts(min(rest), tables.Feedback.assistant == name, _day().in_(rest))
        )
    return {
        str(row.day): Moment(
            id="", at=row.at, what="feedback", by=None,
            feedback=Given(
                up=row.up, down=row.down, corrections=row.corrections, preferences=row.preferences, people=row.people
            ),
        )
        for row in found
    }  # fmt: skip


async def _trainings(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    job, user = tables.Job, tables.User
    query = select(job, user.name).join(user, user.id == job.user_id).where(job.id.in_(ids))
    return {
        row.id: Moment(
            id="", at=row.created_at, what="training", by=by, method=cast(Any, row.kind), status=cast(Any, row.status),
            reason=(row.request.get("metadata") or {}).get("override_reason"),
        )
        for row, by in await session.execute(query)
    }  # fmt: skip


async def _releases(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    found = await session.scalars(select(tables.Release).where(tables.Release.id.in_(ids)))
    return {
        row.id: Moment(id="", at=row.created_at, what="release", by=None, release=row.number) for row in found
    }


async def _evaluations(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    row, job, user, release = tables.Evaluation, tables.Job, tables.User, tables.Release
    query = (
        select(row.id, row.created_at, row.report, job.status, user.name, release.number)
        .join(job, job.id == row.job_id).join(user, user.id == job.user_id)
        .join(release, release.id == row.release_id).where(row.id.in_(ids))
    )  # fmt: skip
    return {
        id_: Moment(
            id="", at=at, what="evaluation", by=by, release=number, status=cast(Any, status),
            verdict=report["gate"]["verdict"] if report else None,
        )
        for id_, at, report, status, by, number in await session.execute(query)
    }  # fmt: skip


async def _moves(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    move, user, release = tables.Move, tables.User, tables.Release
    numbers: dict[str | None, int] = {
        id_: number
        for id_, number in await session.execute(
            select(release.id, release.number).where(release.assistant == name)
        )
    }
    query = select(move, user.name).join(user, user.id == move.user_id)
    found = await session.execute(query.where(move.id.in_([int(id_) for id_ in ids])))
    return {
        str(row.id): Moment(
            id="", at=row.created_at, what=cast(What, row.kind), by=by, release=numbers.get(row.to_release_id),
            from_release=None if row.kind == "staging" else numbers.get(row.from_release_id), share=row.share,
            reason=row.reason,
        )
        for row, by in found
    }  # fmt: skip


async def _changes(session: AsyncSession, name: str, ids: Sequence[str]) -> dict[str, Moment]:
    entry, user = tables.AuditEntry, tables.User
    query = select(entry, user.name).outerjoin(user, user.id == entry.user_id)
    found = await session.execute(query.where(entry.id.in_([int(id_) for id_ in ids])))
    return {
        str(row.id): Moment(
            id="", at=row.at, what=CHANGES[row.action], by=by,
            fields=sorted(row.detail) if row.action == "assistant.changed" else [],
        )
        for row, by in found
    }  # fmt: skip


READERS: tuple[Read, ...] = (_feedback, _trainings, _releases, _evaluations, _moves, _changes)
"""By the rank of their moments."""

"""A release on trial with some of the people, beside the live one. Never commits.

Owns who may begin one and what is told of it. Which people it answers is decided in `chat`, by a hash of person and
release: nobody's answers change from one question to the next.
"""

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.releases import Reception, Staging, Trial
from service.db import tables
from service.domain import assistants, feedback, releases
from service.domain.identity import now
from service.domain.keys import Caller
from service.errors import Conflict, NotFound

Row = tables.Completion


async def stage(session: AsyncSession, caller: Caller, release_id: str, wanted: Staging) -> tables.Release:
    """Begin a trial, change its share, or end it with share 0. Raises `Conflict` for what may not answer people."""
    release = await releases.get_release(session, release_id)
    assistant = await assistants.get_assistant(session, release.assistant)
    if assistant.live_release_id == release.id:
        raise Conflict(
            f"Release {release.number} of '{release.assistant}' is live: it answers everybody.",
            code="release_is_live",
        )
    on_trial = assistant.staged_release_id
    if wanted.share == 0:
        if on_trial != release.id:
            raise Conflict(
                f"Release {release.number} of '{release.assistant}' is not on trial.", code="not_on_trial"
            )
    elif on_trial not in (None, release.id):
        other = await releases.get_release(session, on_trial or "")
        raise Conflict(
            f"Release {other.number} of '{release.assistant}' is on trial. End its trial first (share 0).",
            code="other_on_trial",
        )
    elif on_trial is None:
        await releases.check_allowed(session, release, wanted.override_reason)
    session.add(
        tables.Move(
            assistant=assistant.name, from_release_id=assistant.live_release_id, to_release_id=release.id,
            user_id=caller.user_id, kind="staging", share=wanted.share, reason=wanted.override_reason,
            created_at=now(),
        )
    )  # fmt: skip
    assistant.staged_release_id = release.id if wanted.share else None
    assistant.staged_share = wanted.share
    await session.flush()
    return release


async def trial(session: AsyncSession, name: str) -> Trial:
    """How the two releases were received since the trial began. Raises `NotFound` while there is none."""
    assistant = await assistants.get_assistant(session, name)
    if assistant.staged_release_id is None:
        raise NotFound(f"No release of '{name}' is on trial.")
    staged = await releases.get_release(session, assistant.staged_release_id)
    began = await session.scalar(_beginning(name, staged.id))
    return Trial(
        assistant=name, release=staged.number, share=assistant.staged_share, since=began or 0,
        staged=await _reception(session, name, staged.id, began or 0),
        live=await _reception(session, name, assistant.live_release_id, began or 0),
    )  # fmt: skip


def _beginning(name: str, release_id: str) -> Select[int]:
    """When the present trial began: the first staging since the last move of another kind, or end of a trial."""
    move = tables.Move
    ended = select(func.coalesce(func.max(move.id), 0)).where(
        move.assistant == name, (move.kind != "staging") | (move.share == 0)
    )
    return select(func.min(move.created_at)).where(
        move.assistant == name, move.to_release_id == release_id, move.id > ended.scalar_subquery()
    )


async def _reception(session: AsyncSession, name: str, release_id: str | None, since: int) -> Reception:
    mine = (
        Row.assistant == name,
        Row.release_id == release_id if release_id else Row.release_id.is_(None),
        Row.requested_model == name,
        Row.created_at >= since,
    )
    answers, people = (
        await session.execute(select(func.count(), func.count(Row.user_id.distinct())).where(*mine))
    ).one()
    query = select(tables.Feedback).join(Row, Row.id == tables.Feedback.completion_id).where(*mine)
    standing = feedback.in_force(list(await session.scalars(query)))
    ratings = [row.rating for row in standing if row.type == "rating"]
    number = (await releases.get_release(session, release_id)).number if release_id else None
    return Reception(
        release=number, answers=answers, people=people, up=ratings.count(1), down=ratings.count(-1),
        corrected=sum(row.type == "correction" for row in standing),
    )  # fmt: skip

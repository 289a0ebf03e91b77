"""What can stand in `model` of a request, and how a tuned model is taken out of it. Never commits.

Deleting marks: the name answers no more, the engine forgets it a while later, and the files stay, for
an engine may still read them and what learnt from whom must be told.
"""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import ENDED
from service.db import tables
from service.domain import chat
from service.domain.identity import now
from service.domain.keys import Caller
from service.errors import Conflict, NotAllowed


async def delete_model(session: AsyncSession, caller: Caller, model: str, *, base_name: str) -> None:
    """Withdraw a tuned model. Raises `NotFound`, `NotAllowed`, or `Conflict` while it is live or under way."""
    route = await chat.resolve(session, model, base_name=base_name)
    if not model.startswith("ft:"):
        raise NotAllowed(f"'{model}' is no tuned model; only those ('ft:...') can be deleted here.")
    adapter = await session.get_one(tables.Adapter, route.adapter)
    caller.must_own(adapter.user_id)
    await _check_unused(session, adapter.digest, model)
    adapter.deleted_at = now()


async def _check_unused(session: AsyncSession, digest: str, model: str) -> None:
    query = select(tables.Release).where(tables.Release.adapter == digest)
    releases = {release.id: release for release in await session.scalars(query)}
    live = await session.scalar(
        select(tables.Assistant)
        .where(
            or_(
                tables.Assistant.live_release_id.in_(releases),
                tables.Assistant.staged_release_id.in_(releases),
            )
        )
        .limit(1)
    )
    if live is not None:
        raise Conflict(
            f"'{model}' answers as '{live.name}'. Promote another release, roll back or end its trial first.",
            code="model_in_use",
        )
    measured = {release.assistant for release in releases.values()}
    job = await session.scalar(
        select(tables.Job).where(
            tables.Job.status.not_in(ENDED),
            or_(
                tables.Job.start_adapter == digest,
                (tables.Job.kind == "evaluation") & tables.Job.assistant.in_(measured),
            ),
        )
    )
    if job is not None:
        raise Conflict(
            f"'{model}' is at work in '{job.id}'. Wait for its end, or cancel it.", code="model_in_use"
        )

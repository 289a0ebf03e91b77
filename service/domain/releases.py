"""Published adapters, their offers to assistants, and the live pointer's moves. Never commits.

An adapter row is written only after the running engine was seen to serve it. Promotion and rollback
move a pointer and leave a line that `timeline` tells; nothing published is ever changed.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import TrainingReport
from service.contract.releases import Adapter, Manifest, Promotion, Release, ReleaseState, ServingProof
from service.db import tables
from service.domain import assistants, gates
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.errors import Conflict, NotFound


async def publish(
    session: AsyncSession, job: tables.Job, *,
    digest: str, size: int, manifest: Manifest, proof: ServingProof, report: TrainingReport,
) -> tables.Release | None:  # fmt: skip
    """Write the adapter, name its model and, when the job is for an assistant, offer it as a candidate.

    Training that gives the very same files again is the same adapter: it keeps its first name.
    """
    adapter = await session.get(tables.Adapter, digest)
    if adapter is None:
        adapter = made(job, digest=digest, size=size, manifest=manifest, proof=proof, report=report)
        session.add(adapter)
    adapter.deleted_at = None
    job.fine_tuned_model, job.adapter, job.trained_tokens = adapter.model, digest, report.trained_tokens
    await session.flush()
    return await offer(session, job.assistant, digest, job.id) if job.assistant else None


def made(
    job: tables.Job, *,
    digest: str, size: int, manifest: Manifest, proof: ServingProof, report: TrainingReport,
) -> tables.Adapter:  # fmt: skip
    """The row of an adapter that a job has made, with the name of its model."""
    suffix = (job.request.get("suffix") or job.assistant or "model").lower()
    model = f"ft:{manifest.base_model}:tailorbird:{suffix}:{digest[:12]}"
    if manifest.step is not None:
        model += f":ckpt-step-{manifest.step}"
    return tables.Adapter(
        digest=digest, model=model, job_id=job.id, user_id=job.user_id, manifest=manifest.model_dump(),
        proof=proof.model_dump(), report=report.model_dump(), bytes=size, created_at=now(), deleted_at=None,
    )  # fmt: skip


async def offer(session: AsyncSession, assistant: str, digest: str, job_id: str | None) -> tables.Release:
    """A new candidate release of an assistant."""
    newest = await session.scalar(
        select(func.max(tables.Release.number)).where(tables.Release.assistant == assistant)
    )
    release = tables.Release(
        id=new_id("rel_"), assistant=assistant, number=(newest or 0) + 1, adapter=digest, job_id=job_id,
        created_at=now(), evaluation_id=None,
    )  # fmt: skip
    session.add(release)
    await session.flush()
    return release


async def promote(
    session: AsyncSession, caller: Caller, release_id: str, wanted: Promotion
) -> tables.Release:
    """Make a release live. Unless its gate passed, the caller must give a reason, which is kept with the name.

    A trial of any release of the assistant ends.
    """
    release = await get_release(session, release_id)
    assistant = await assistants.get_assistant(session, release.assistant)
    if assistant.live_release_id == release.id:
        return release
    await check_allowed(session, release, wanted.override_reason)
    await _move(session, caller, assistant, release.id, "promotion", wanted.override_reason)
    return release


async def check_allowed(session: AsyncSession, release: tables.Release, override_reason: str | None) -> None:
    """Raise `Conflict` unless the release may answer people: its gate passed, or somebody answers for it."""
    await check_served(session, release)
    gate = await gates.gate_of(session, release, await assistants.get_assistant(session, release.assistant))
    if (gate is None or gate.verdict != "pass") and override_reason is None:
        said = "It was not evaluated." if gate is None else gate.reasons[0]
        why = said if gate is None or gates.is_outdated(gate) else f"Its evaluation says hold: {said}"
        raise Conflict(
            f"Release {release.number} of '{release.assistant}' is held. {why} "
            "Send 'override_reason' to let it answer all the same; your name and reason are kept.",
            code="release_held",
        )


async def roll_back(
    session: AsyncSession, caller: Caller, name: str, reason: str, release: str | None = None
) -> tables.Assistant:
    """Move the pointer to what was live before the present release went live; that may be the base model.

    A trial ends. Raises `Conflict` when `release` is named and another one is live: two who press at once go back once.
    """
    assistant = await assistants.get_assistant(session, name)
    if assistant.live_release_id is None:
        raise Conflict(
            f"'{name}' answers with the base model already; there is nothing to roll back.",
            code="nothing_to_roll_back",
        )
    if release not in (None, assistant.live_release_id):
        raise Conflict(
            f"Another release of '{name}' is live by now, so nothing was rolled back. Look which one it is first.",
            code="other_is_live",
        )
    arrival = await session.scalar(
        select(tables.Move)
        .where(
            tables.Move.assistant == name,
            tables.Move.to_release_id == assistant.live_release_id,
            tables.Move.kind == "promotion",
        )
        .order_by(tables.Move.id.desc())
    )
    earlier = arrival.from_release_id if arrival else None
    if earlier is not None:
        await check_served(session, await get_release(session, earlier))
    await _move(session, caller, assistant, earlier, "rollback", reason)
    return assistant


async def check_served(session: AsyncSession, release: tables.Release) -> None:
    """Raise `Conflict` when the release's model was deleted: it answers no more."""
    adapter = await session.get_one(tables.Adapter, release.adapter)
    if adapter.deleted_at is not None:
        raise Conflict(
            f"Release {release.number} of '{release.assistant}' answers no more: its model was deleted. "
            "Choose another release.",
            code="model_deleted",
        )


async def get_release(session: AsyncSession, release_id: str) -> tables.Release:
    release = await session.get(tables.Release, release_id)
    if release is None:
        raise NotFound(f"No release '{release_id}'.")
    return release


async def list_releases(session: AsyncSession, assistant: str | None) -> list[tables.Release]:
    query = select(tables.Release).order_by(tables.Release.assistant, tables.Release.number.desc())
    if assistant is not None:
        query = query.where(tables.Release.assistant == assistant)
    return list(await session.scalars(query))


async def shown(session: AsyncSession, release: tables.Release) -> Release:
    """The release as the contract shows it; its state follows from the assistant's pointer and history."""
    assistant = await assistants.get_assistant(session, release.assistant)
    adapter = await session.get_one(tables.Adapter, release.adapter)
    promotion = await session.scalar(
        select(tables.Move)
        .where(tables.Move.to_release_id == release.id, tables.Move.kind != "staging")
        .order_by(tables.Move.id.desc())
        .limit(1)
    )
    by = await session.get(tables.User, promotion.user_id) if promotion else None
    live, staged = assistant.live_release_id == release.id, assistant.staged_release_id == release.id
    state: ReleaseState = "retired" if promotion else "candidate"
    state = "deleted" if adapter.deleted_at else "live" if live else "staged" if staged else state
    return Release(
        id=release.id, assistant=release.assistant, number=release.number, adapter=release.adapter,
        model=adapter.model, job=release.job_id,
        state=state,
        gate=await gates.gate_of(session, release, assistant),
        evaluation=release.evaluation_id, created_at=release.created_at,
        promoted_at=promotion.created_at if promotion else None, promoted_by=by.name if by else None,
        override_reason=promotion.reason if promotion and promotion.kind == "promotion" else None,
    )  # fmt: skip


async def list_adapters(session: AsyncSession) -> Sequence[tables.Adapter]:
    """Every published adapter that should be served."""
    query = (
        select(tables.Adapter).where(tables.Adapter.deleted_at.is_(None)).order_by(tables.Adapter.created_at)
    )
    return (await session.scalars(query)).all()


async def deleted_adapters(session: AsyncSession, before: int) -> set[str]:
    """Digests of the adapters whose model was deleted before that time."""
    return set(await session.scalars(select(tables.Adapter.digest).where(tables.Adapter.deleted_at < before)))


async def get_adapter(session: AsyncSession, digest: str) -> Adapter:
    row = await session.get(tables.Adapter, digest)
    if row is None:
        raise NotFound(f"No adapter '{digest}'.")
    return _adapter(row)


async def adapter_to_take(session: AsyncSession, caller: Caller, digest: str) -> Adapter:
    """One's own, or anybody's for a reviewer. Raises `Conflict` when its model was deleted."""
    row = await session.get(tables.Adapter, digest)
    if row is None or not caller.may_see(row.user_id):
        raise NotFound(f"No adapter '{digest}'.")
    if row.deleted_at is not None:
        raise Conflict(f"'{row.model}' was deleted: it is given out no more.", code="model_deleted")
    return _adapter(row)


def _adapter(row: tables.Adapter) -> Adapter:
    fields: dict[str, Any] = {name: getattr(row, name) for name in Adapter.model_fields}
    return Adapter.model_validate(fields)


async def _move(
    session: AsyncSession,
    caller: Caller,
    assistant: tables.Assistant,
    to: str | None,
    kind: str,
    reason: str | None,
) -> None:
    session.add(
        tables.Move(
            assistant=assistant.name, from_release_id=assistant.live_release_id, to_release_id=to,
            user_id=caller.user_id, kind=kind, reason=reason, created_at=now(),
        )
    )  # fmt: skip
    assistant.live_release_id, assistant.staged_release_id, assistant.staged_share = to, None, 0
    await session.flush()

"""Adapters of finished passes, which OpenAI's wire calls checkpoints: each can be asked while its job still runs.

A job's newest few are kept, the adapter that it ended with among them. An older one answers no more, is forgotten by
the engines when nobody uses it, and its files go a while later. None is a release. Never commits.
"""

from sqlalchemy import not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.folder import PASSES
from service.contract.jobs import ENDED, Checkpoint, Manifest, TrainingReport
from service.contract.releases import ServingProof
from service.db import tables
from service.domain import jobs, releases
from service.domain.identity import now
from service.domain.paging import page

FILES_STAY = 3600
"""Seconds from the end of a checkpoint to that of its files: longer than any answer that was begun with it."""


_IS_CHECKPOINT = tables.Adapter.manifest["step"].as_integer().is_not(None)


async def known(session: AsyncSession, job_id: str, step: int) -> bool:
    """Whether the checkpoint of this step was published before, even if it is gone by now."""
    return any(row.manifest["step"] == step for row in await _of_job(session, job_id))


async def publish(
    session: AsyncSession, job_id: str, *,
    digest: str, size: int, manifest: Manifest, proof: ServingProof, report: TrainingReport,
) -> None:  # fmt: skip
    """Write a checkpoint that was seen to be served, once, and let the oldest go where there are too many."""
    step = report.steps
    if await known(session, job_id, step):
        return
    job = await jobs.get_job(session, None, job_id)
    made = releases.made(job, digest=digest, size=size, manifest=manifest, proof=proof, report=report)
    session.add(made)
    await session.flush()
    told = {"step": step, "model": made.model}
    await jobs.add_event(
        session, job_id, f"Checkpoint created at step {step}: {made.model} can be asked.", code="checkpoint", data=told
    )  # fmt: skip
    await let_go(session, job)


async def let_go(session: AsyncSession, job: tables.Job) -> None:
    """Keep the newest; one that is in use elsewhere stays as well."""
    in_use = await _in_use(session)
    for row in (await _standing(session, job))[PASSES - (job.adapter is not None) :]:
        if row.digest not in in_use:
            row.deleted_at = now()


async def end_with(session: AsyncSession, job: tables.Job, step: int) -> None:
    """The job has published its adapter, which is that of this step: it counts among the kept ones."""
    await let_go(session, job)
    if await known(session, job.id, step):
        told = f"The tuned model is the checkpoint of step {step}, by a name of its own."
        await jobs.add_event(session, job.id, told, code="checkpoint_same", data={"step": step})


async def list_checkpoints(
    session: AsyncSession, job: tables.Job, *, after: str | None, limit: int
) -> tuple[list[Checkpoint], bool]:
    """What can be asked of a job, newest first: first the adapter that it published, where there is one."""
    last = await session.get(tables.Adapter, job.adapter) if job.adapter else None
    rows = [*([last] if last else []), *await _standing(session, job)]
    return page([_shown(job, row) for row in rows], after, limit)


async def needed(session: AsyncSession) -> set[str]:
    """Digests of the adapters whose files must stay: whatever was published, but for checkpoints that have gone."""
    row = tables.Adapter
    answers = or_(row.deleted_at.is_(None), row.deleted_at >= now() - FILES_STAY)
    query = select(row.digest).where(or_(not_(_IS_CHECKPOINT), answers))
    return set(await session.scalars(query)) | await _in_use(session)


async def _in_use(session: AsyncSession) -> set[str]:
    """Digests that jobs which have not ended start from, or prove again, and those that were offered as releases."""
    job = tables.Job
    query = select(job.start_adapter, job.request).where(
        job.status.not_in(ENDED), or_(job.start_adapter.is_not(None), job.kind == "import")
    )
    found = {start or request.get("adapter") for start, request in await session.execute(query)}
    return {digest for digest in found if digest} | set(await session.scalars(select(tables.Release.adapter)))


async def _standing(session: AsyncSession, job: tables.Job) -> list[tables.Adapter]:
    """A job's checkpoints that can be asked, newest first."""
    return [
        row for row in await _of_job(session, job.id) if row.deleted_at is None and row.digest != job.adapter
    ]


async def _of_job(session: AsyncSession, job_id: str) -> list[tables.Adapter]:
    row = tables.Adapter
    query = select(row).where(row.job_id == job_id, _IS_CHECKPOINT)
    return sorted(await session.scalars(query), key=lambda one: one.manifest["step"], reverse=True)


def _shown(job: tables.Job, row: tables.Adapter) -> Checkpoint:
    step = row.report.get("kept_step") or row.report["steps"]
    return Checkpoint(
        id=f"ftckpt-{row.digest[:24]}", created_at=row.created_at, fine_tuning_job_id=job.id,
        fine_tuned_model_checkpoint=row.model, step_number=step, metrics={"step": step, **row.report["metrics"]},
    )  # fmt: skip

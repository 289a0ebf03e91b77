"""Jobs: made, claimed, followed, ended. Never commits.

A job is claimed with a lease that its worker renews; a lease that runs out puts the job back in the
queue, so a dead worker leaves no job hanging. A paused job is claimed by nobody until it is resumed. Knows no
subprocess.
"""

import time
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import folder
from service.contract.jobs import (
    ENDED,
    EventCode,
    Job,
    JobCreate,
    JobError,
    JobEvent,
    JobStatus,
    Values,
)
from service.db import tables
from service.domain import files, job_requests, webhooks
from service.domain.idempotency import recent_same
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.domain.paging import has_metadata, newest, strange
from service.errors import Conflict, NotFound

LEASE = 20.0
"""Seconds a claimed job is its worker's without renewal."""
FIELDS = {folder.TRAIN: "training_file", folder.VALIDATION: "validation_file"}
"""Of a request, by what their files are called in a run folder."""
RESTARTED = ("evaluation", "import")
"""Jobs without checkpoints."""


async def made_before(session: AsyncSession, caller: Caller, wanted: JobCreate) -> tables.Job | None:
    """The job that an identical request made a moment ago."""
    return await recent_same(session, tables.Job, caller.user_id, wanted.model_dump(exclude_none=True))


async def create_job(
    session: AsyncSession, caller: Caller, wanted: JobCreate, plan: job_requests.Plan
) -> tables.Job:
    """Queue a training job as it was planned. Raises `NotFound` when a file went away since."""
    for file_id in filter(None, (wanted.training_file, wanted.validation_file)):
        await files.get_file(session, file_id)
    request = wanted.model_dump(exclude_none=True)
    job = tables.Job(
        id=new_id("ftjob-"), kind=plan.kind, status="queued", user_id=caller.user_id, request=request,
        settings=plan.settings.model_dump(), reasons=job_requests.told(plan.reasons), model=wanted.model,
        start_adapter=plan.start.digest if plan.start else None,
        training_file=wanted.training_file, validation_file=wanted.validation_file, assistant=plan.assistant,
        attempts=0, cancel_requested=False, pause_requested=False, created_at=now(),
    )  # fmt: skip
    session.add(job)
    await session.flush()
    if plan.reasons:
        used = job_requests.used(job)
        told = " ".join(f"{name} = {used[name]}: {one.because}" for name, one in plan.reasons.items())
        chosen = {name: {"value": used[name], **one.model_dump()} for name, one in plan.reasons.items()}
        await add_event(session, job.id, f"Chosen for you: {told}", data={"chosen": chosen}, code="chosen")
    await add_event(session, job.id, "Files checked. The job waits for its turn.", code="waiting")
    return job


async def get_job(session: AsyncSession, caller: Caller | None, job_id: str) -> tables.Job:
    """A job of the caller's own, any for a reviewer, any for the service itself (`caller` none)."""
    job = await session.get(tables.Job, job_id)
    if job is None or not (caller is None or caller.may_see(job.user_id)):
        raise _not_found(job_id)
    return job


async def get_training_job(session: AsyncSession, caller: Caller, job_id: str) -> tables.Job:
    """The same, without evaluations, which have an address of their own."""
    job = await get_job(session, caller, job_id)
    if job.kind == "evaluation":
        raise _not_found(job_id)
    return job


async def list_jobs(
    session: AsyncSession, caller: Caller, *, after: str | None, limit: int, metadata: dict[str, str]
) -> tuple[list[tables.Job], bool]:
    """Training jobs, newest first, with a filter on metadata."""
    query = select(tables.Job).where(tables.Job.kind != "evaluation")
    if not caller.may("reviewer"):
        query = query.where(tables.Job.user_id == caller.user_id)
    query = query.where(*has_metadata(tables.Job.request["metadata"], metadata))
    return await newest(session, query, tables.Job, after, limit)


async def cancel(session: AsyncSession, job: tables.Job) -> None:
    """Cancel a waiting job now; a running one stops within a few seconds. Raises `Conflict` when it has ended."""
    _refuse_ended(job)
    job.cancel_requested = True
    if job.status in ("queued", "paused"):
        await end(session, job, "cancelled", "Cancelled before it began.", code="cancelled_early")
    else:
        await add_event(session, job.id, "Cancel was asked for.", code="cancel_asked")


async def pause(session: AsyncSession, job: tables.Job) -> None:
    """Pause a waiting job now, a running one after its present step. Raises `Conflict` when it has ended."""
    _refuse_ended(job)
    if job.status == "queued":
        job.status = "paused"
        await add_event(session, job.id, "Paused before it began.", code="paused_early")
    elif job.status == "running" and not job.pause_requested:
        job.pause_requested = True
        told = "A pause was asked for. The job pauses after its present step."
        await add_event(session, job.id, told, code="pause_asked")


async def resume(session: AsyncSession, job: tables.Job) -> None:
    """Let a paused job go on from where it stands. Raises `Conflict` when it has ended."""
    _refuse_ended(job)
    if job.status == "paused":
        job.status = "queued"
        await add_event(session, job.id, "Resumed. The job waits for its turn.", code="resumed")
    elif job.pause_requested:
        job.pause_requested = False
        await add_event(session, job.id, "Resumed before it had paused.", code="resumed_early")


async def set_aside(session: AsyncSession, job: tables.Job) -> None:
    """A running job has ended early, and goes on from where it stands when it is claimed again: paused when that
    was asked for, else back in the queue. It was not lost, so the attempt does not count.
    """
    job.status = "paused" if job.pause_requested else "queued"
    job.pause_requested, job.attempts = False, job.attempts - 1
    job.worker = job.lease_until = job.estimated_finish = None
    code: EventCode = "paused"
    told = "Paused. It goes on from here when it is resumed."
    if job.status == "queued":
        told = f"Interrupted: the job {_again(job)} when its turn comes."
        code = "interrupted_restarts" if job.kind in RESTARTED else "interrupted_goes_on"
    await add_event(session, job.id, told, code=code)


async def claim(session: AsyncSession, worker: str) -> tables.Job | None:
    """Take the oldest waiting job, with a lease."""
    oldest = (
        select(tables.Job.id)
        .where(tables.Job.status == "queued")
        .order_by(tables.Job.created_at, tables.Job.id)
    )
    taken = await session.execute(
        update(tables.Job)
        .where(tables.Job.id == oldest.limit(1).scalar_subquery(), tables.Job.status == "queued")
        .values(
            status="running", worker=worker, lease_until=time.time() + LEASE, attempts=tables.Job.attempts + 1
        )
        .returning(tables.Job)
    )
    job = taken.scalar_one_or_none()
    if job is not None and job.started_at is None:
        job.started_at = now()
    return job


async def renew(session: AsyncSession, job_id: str, worker: str) -> bool:
    """Keep a claimed job. False when it is no longer this worker's."""
    kept = await session.execute(
        update(tables.Job)
        .where(tables.Job.id == job_id, tables.Job.worker == worker, tables.Job.status == "running")
        .values(lease_until=time.time() + LEASE)
        .returning(tables.Job.id)
    )
    return kept.scalar_one_or_none() is not None


async def reach(session: AsyncSession, job_id: str, step: int) -> None:
    """A claimed job goes on from this step. When it got further than before, its attempts count anew."""
    job = await get_job(session, None, job_id)
    if step > job.reached:
        job.reached, job.attempts = step, 1


async def requeue_lost(session: AsyncSession, attempts: int) -> int:
    """Put jobs whose worker is gone back in the queue; after `attempts` starts without getting further they fail.

    Returns how many.
    """
    lost = select(tables.Job).where(tables.Job.status == "running", tables.Job.lease_until < time.time())
    jobs = list(await session.scalars(lost))
    for job in jobs:
        job.worker = job.lease_until = None
        if job.cancel_requested:
            await end(session, job, "cancelled", "Cancelled.", code="cancelled")
        elif job.pause_requested:
            job.status, job.pause_requested = "paused", False
            told = "The worker was lost; the job is paused."
            await add_event(session, job.id, told, level="warn", code="lost_paused")
        elif job.attempts >= attempts:
            error = JobError(
                code="worker_lost", message=f"The job was interrupted {job.attempts} times and given up."
            )
            given_up = {"attempts": job.attempts}
            await end(session, job, "failed", error.message, error, code="lost_given_up", values=given_up)
        else:
            job.status = "queued"
            told = f"The worker was lost; the job {_again(job)}."
            code = "lost_restarts" if job.kind in RESTARTED else "lost_goes_on"
            await add_event(session, job.id, told, level="warn", code=code)
    return len(jobs)


async def killed(session: AsyncSession, job: tables.Job) -> None:
    """The job's process was killed, and not by us: it goes on once; the second time it fails with that cause.

    The kernel that runs out of memory kills so, and would do it again and again.
    """
    code: EventCode = "killed_restarts" if job.kind == "evaluation" else "killed_goes_on"
    event = tables.JobEvent
    before = select(event.id).where(event.job_id == job.id, event.data["code"].as_string() == code).limit(1)
    job.worker = job.lease_until = None
    if job.cancel_requested:
        await end(session, job, "cancelled", "Cancelled.", code="cancelled")
    elif await session.scalar(before) is None:
        job.status, job.pause_requested = "paused" if job.pause_requested else "queued", False
        told = f"Its process was killed, probably for lack of memory. The job {_again(job)}, once."
        await add_event(session, job.id, told, level="warn", code=code)
    else:
        error = JobError(
            code="job_killed",
            message="Its process was killed again, probably for lack of memory. Free some memory on this machine, or "
            "choose a smaller batch_size or shorter rows, and start the job again.",
        )
        await end(session, job, "failed", error.message, error, code="killed_given_up")


async def ended(session: AsyncSession, ids: set[str]) -> set[str]:
    """Which of these jobs have ended."""
    query = select(tables.Job.id).where(tables.Job.id.in_(ids), tables.Job.status.in_(ENDED))
    return set(await session.scalars(query))


async def end(
    session: AsyncSession, job: tables.Job, status: str, message: str, error: JobError | None = None, *,
    code: EventCode | None = None, values: Values | None = None,
) -> None:  # fmt: skip
    job.status, job.finished_at, job.estimated_finish = status, now(), None
    job.worker = job.lease_until = None
    job.pause_requested = False
    if error is not None:
        error = await _as_brought(session, job, error)
        message = error.message
    job.error = error.model_dump() if error else None
    level = "error" if status == "failed" else "info"
    data: Mapping[str, Any] | None = values
    if error is not None and code is None:
        code, data = "failed", {"error": error.code, "param": error.param}
    await add_event(session, job.id, message, level=level, code=code, data=data)
    await webhooks.tell_of_job(session, job)


async def _as_brought(session: AsyncSession, job: tables.Job, error: JobError) -> JobError:
    """With the names of the job's files for those in its run folder, and the job's own fields."""
    ids = (job.training_file, job.validation_file)
    brought = [await session.get(tables.File, id_) if id_ else None for id_ in ids]
    param = FIELDS.get(error.param or "") or files.as_brought(error.param or "", *brought) or None
    return JobError(code=error.code, message=files.as_brought(error.message, *brought), param=param)


async def add_event(
    session: AsyncSession, job_id: str, message: str, *,
    level: str = "info", type_: str = "message", data: Mapping[str, Any] | None = None, at: float | None = None,
    code: EventCode | None = None,
) -> None:  # fmt: skip
    """A message with a `code` can be said in another language, with `data` as its values."""
    told = {**(data or {}), **({"code": code} if code else {})}
    row = tables.JobEvent(
        job_id=job_id, at=at or time.time(), level=level, type=type_, message=message, data=told
    )
    session.add(row)
    await session.flush()


async def list_events(
    session: AsyncSession, job_id: str, *, after: str | None, limit: int
) -> tuple[list[JobEvent], bool]:
    """Events of a job, newest first, as OpenAI lists them."""
    event = tables.JobEvent
    query = select(event).where(event.job_id == job_id).order_by(event.id.desc())
    if after is not None:
        digits = after.removeprefix("ftevent-")
        number = int(digits) if digits.isdecimal() and len(digits) < 19 else 0
        if await session.scalar(query.where(event.id == number)) is None:
            raise strange(after)
        query = query.where(event.id < number)
    events = [
        JobEvent.model_validate(
            {
                "id": f"ftevent-{r.id}", "created_at": int(r.at), "level": r.level, "message": r.message,
                "type": r.type, "data": r.data,
            }
        )
        for r in await session.scalars(query.limit(limit + 1))
    ]  # fmt: skip
    return events[:limit], len(events) > limit


def shown(job: tables.Job) -> Job:
    """The job as OpenAI shows it, every hyperparameter resolved."""
    used = job_requests.used(job)
    name = next((method for method, kind in job_requests.KINDS.items() if kind == job.kind), job.kind)
    return Job(
        id=job.id, created_at=job.created_at, finished_at=job.finished_at, model=job.model,
        fine_tuned_model=job.fine_tuned_model, status=cast(JobStatus, "pausing" if job.pause_requested else job.status),
        training_file=job.training_file or "",
        validation_file=job.validation_file, result_files=[job.result_file] if job.result_file else [],
        trained_tokens=job.trained_tokens,
        error=JobError(**job.error) if job.error else None, hyperparameters=used,
        hyperparameter_reasons=job.reasons or {}, start_adapter=job.start_adapter,
        method={"type": name, name: {"hyperparameters": used}},
        seed=job.settings.get("seed", 0), estimated_finish=job.estimated_finish, metadata=job.request.get("metadata"),
    )  # fmt: skip


def _again(job: tables.Job) -> str:
    return "starts again" if job.kind in RESTARTED else "goes on from its last checkpoint"


def _refuse_ended(job: tables.Job) -> None:
    if job.status in ENDED:
        raise Conflict(f"The job has ended already: it is '{job.status}'.", code="job_ended")


def _not_found(job_id: str) -> NotFound:
    return NotFound(
        f"Could not find fine tune: {job_id}", param="fine_tuning_job_id", code="fine_tune_not_found"
    )

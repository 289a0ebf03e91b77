"""`/v1/fine_tuning/jobs` on OpenAI's wire, a job's report, and `/api/rounds`: freeze the feedback and train on it."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.datasets import draft
from service.api.deps import (
    CallerDep,
    House,
    HouseDep,
    NoteDep,
    ReadDep,
    RetryDep,
    ReviewerDep,
    WriteDep,
)
from service.api.lists import as_list, metadata_wanted
from service.contract.jobs import Job, JobCreate, RoundCreate
from service.contract.reports import JobReport
from service.db import tables
from service.domain import audit, datasets, idempotency, job_requests, jobs, passes, reports, rounds
from service.domain.job_requests import Plan
from service.domain.keys import Caller

router = APIRouter(tags=["jobs"])
BASE = "/v1/fine_tuning/jobs"


@router.post(BASE)
async def create_job(
    wanted: JobCreate,
    request: Request,
    house: HouseDep,
    caller: CallerDep,
    retry: RetryDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Job:
    """Queue a supervised, DPO or KTO job. With an `Idempotency-Key`, or when the SDK retries, a repeat makes no
    second job."""
    body, settings = await request.body(), house.settings

    async def made_before(session: AsyncSession) -> tables.Job | None:
        earlier = await idempotency.earlier_answer(session, caller.user_id, idempotency_key, body)
        if earlier is not None:
            return await jobs.get_training_job(session, caller, earlier["id"])
        return await jobs.made_before(session, caller, wanted) if retry else None

    # Planning may read a whole file: nobody who writes waits for that.
    async with house.database.reading() as session:
        if (job := await made_before(session)) is not None:
            return jobs.shown(job)
        plan = await job_requests.plan(
            session, house.store, caller, wanted, base_name=settings.model_name, min_rows=settings.min_examples,
            bounds=house.bounds,
        )  # fmt: skip
        reason = rounds.reason_of(wanted)
        rounds.check(plan.signal, reason)
    async with house.database.writing() as session:
        if (job := await made_before(session)) is None:
            job = await jobs.create_job(session, caller, wanted, plan)
            if plan.signal is not None:
                await rounds.explain(session, caller, job, plan.signal, reason)
                told = {"assistant": plan.assistant, "override_reason": reason}
                await audit.note(session, house.hasher, caller, "round.started", job.id, **told)
            else:
                told = {"assistant": plan.assistant, "file": plan.training.id}
                await audit.note(session, house.hasher, caller, "job.started", job.id, **told)
            await idempotency.remember(session, caller.user_id, idempotency_key, body, {"id": job.id})
        return jobs.shown(job)


@router.get(BASE)
async def list_jobs(
    request: Request,
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    """Newest first; `metadata[key]=value` filters."""
    wanted = metadata_wanted(request)
    found, more = await jobs.list_jobs(session, caller, after=after, limit=limit, metadata=wanted)
    return as_list([jobs.shown(job) for job in found], has_more=more)


@router.get(BASE + "/{job_id}")
async def retrieve_job(job_id: str, session: ReadDep, caller: CallerDep) -> Job:
    return jobs.shown(await jobs.get_training_job(session, caller, job_id))


@router.post(BASE + "/{job_id}/cancel")
async def cancel_job(job_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Job:
    job = await jobs.get_training_job(session, caller, job_id)
    await jobs.cancel(session, job)
    await note("job.cancelled", job.id)
    return jobs.shown(job)


@router.post(BASE + "/{job_id}/pause")
async def pause_job(job_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Job:
    """`pausing` until the present step is done, then `paused`: the machine is free, and nothing is lost."""
    job = await jobs.get_training_job(session, caller, job_id)
    await jobs.pause(session, job)
    await note("job.paused", job.id)
    return jobs.shown(job)


@router.post(BASE + "/{job_id}/resume")
async def resume_job(job_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Job:
    """The job goes on from where it was paused, and ends with the adapter it would have made without the pause."""
    job = await jobs.get_training_job(session, caller, job_id)
    await jobs.resume(session, job)
    await note("job.resumed", job.id)
    return jobs.shown(job)


@router.get(BASE + "/{job_id}/events")
async def list_events(
    job_id: str,
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
) -> dict[str, Any]:
    """What happened, newest first: messages, and each step's figures."""
    job = await jobs.get_job(session, caller, job_id)
    found, more = await jobs.list_events(session, job.id, after=after, limit=limit)
    return as_list(found, has_more=more)


@router.get(BASE + "/{job_id}/checkpoints")
async def list_checkpoints(
    job_id: str,
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> dict[str, Any]:
    """Models that can be asked, with their figures: of the newest finished passes while the job runs, and of its end.

    Newest first; the tuned model's step is the one that was kept."""
    job = await jobs.get_training_job(session, caller, job_id)
    found, more = await passes.list_checkpoints(session, job, after=after, limit=limit)
    return as_list(found, has_more=more)


@router.get("/api/jobs/{job_id}/report")
async def job_report(job_id: str, session: ReadDep, caller: CallerDep) -> JobReport:
    """What came of a training job, or how far it came: a verdict in three sentences and everything it rests on.

    For who made the job and for reviewers; its evaluation, release and lineage are for reviewers alone."""
    return await reports.of_job(session, caller, await jobs.get_training_job(session, caller, job_id))


@router.post("/api/rounds")
async def start_round(wanted: RoundCreate, house: HouseDep, caller: ReviewerDep) -> dict[str, Any]:
    """Freeze the feedback on an assistant as a dataset and queue a job that trains its live release on it.

    A round whose data would teach the wrong thing is held; with `override_reason` it starts all the same.
    """
    job_requests.of_round(wanted, "", None)  # settings that cannot stand are refused before anything is read
    await house.sort_feedback(wanted.assistant)
    async with house.database.reading() as session:
        found = await datasets.measure(session, wanted.assistant, wanted.method)
    rounds.check(found, wanted.override_reason)
    made = await draft(house, wanted.assistant, wanted.method, wanted.split_by)
    rounds.check(made.signal, wanted.override_reason)  # feedback may have come in between
    plan = await plan_round(wanted, house, caller, made)
    async with house.database.writing() as session:
        dataset = await datasets.record(session, caller, made)
        metadata = {"dataset": dataset.id}
        if made.signal.verdict == "bad" and wanted.override_reason is not None:
            metadata[rounds.REASON] = wanted.override_reason
        create = job_requests.of_round(wanted, dataset.training_file, dataset.validation_file, **metadata)
        job = await jobs.create_job(session, caller, create, plan)
        await rounds.explain(session, caller, job, made.signal, wanted.override_reason)
        told = {
            "assistant": wanted.assistant,
            "dataset": dataset.id,
            "override_reason": wanted.override_reason,
        }
        await audit.note(session, house.hasher, caller, "round.started", job.id, **told)
        return {"dataset": datasets.shown(dataset).model_dump(), "job": jobs.shown(job).model_dump()}


async def plan_round(wanted: RoundCreate, house: House, caller: Caller, made: datasets.Draft) -> Plan:
    """What a round amounts to on a draft of its dataset, whose files have no record yet."""
    files = {
        split: tables.File(sha256=sha256, kind=wanted.method, rows=rows)
        for split, (sha256, _, rows) in made.kept.items()
    }
    asked = job_requests.of_round(wanted, "", None)
    async with house.database.reading() as session:
        return await job_requests.plan_on(
            session, house.store, caller, asked, files["train"], files.get("held_out"), made.signal,
            base_name=house.settings.model_name, bounds=house.bounds,
        )  # fmt: skip

"""Evaluations: asked for, followed, kept. Knows no metric, no HTTP, and never commits."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.evaluations import Contestant, Evaluation, EvaluationReport
from service.db import tables
from service.domain import assistants, files, jobs, releases
from service.domain.identity import new_id, now
from service.errors import BadInput, NotFound


async def create_evaluation(
    session: AsyncSession, *, user_id: str, release_id: str, cases_file: str | None
) -> tables.Evaluation:
    """Queue a comparison of a release with the live one and the base model on the assistant's held-out questions."""
    release = await releases.get_release(session, release_id)
    await releases.check_served(session, release)
    assistant = await assistants.get_assistant(session, release.assistant)
    file_id = cases_file or assistant.cases_file
    if file_id is None:
        raise BadInput(
            f"'{assistant.name}' has no held-out questions to be measured on. Upload some with purpose 'evals' "
            "and set them as the assistant's 'cases_file'.",
            param="cases_file",
            code="no_cases",
        )
    file = await (files.get_file if cases_file else files.get_kept)(session, file_id)
    if file.kind != "cases":
        raise BadInput(f"File '{file_id}' holds no held-out questions.", param="cases_file", code="no_cases")
    job = tables.Job(
        id=new_id("evaljob-"), kind="evaluation", status="queued", user_id=user_id, request={}, settings={},
        model=f"{assistant.name}@{release.number}", assistant=assistant.name, release_id=release.id,
        training_file=file_id, attempts=0, cancel_requested=False, created_at=now(),
    )  # fmt: skip
    session.add(job)
    await session.flush()
    evaluation = tables.Evaluation(
        id=new_id("eval_"), job_id=job.id, assistant=assistant.name, release_id=release.id, cases_file=file_id,
        report=None, created_at=now(), finished_at=None,
    )  # fmt: skip
    session.add(evaluation)
    await session.flush()
    said = f"{file.rows} held-out questions wait to be asked."
    await jobs.add_event(session, job.id, said, code="evaluation_waiting", data={"n": file.rows})
    return evaluation


async def measure(session: AsyncSession, release: tables.Release, user_id: str) -> None:
    """Queue the evaluation that follows every new candidate, where its assistant has held-out questions."""
    assistant = await assistants.get_assistant(session, release.assistant)
    if assistant.cases_file is not None:
        await create_evaluation(session, user_id=user_id, release_id=release.id, cases_file=None)


async def contestants(session: AsyncSession, job: tables.Job) -> dict[Contestant, tuple[str, str]]:
    """What the evaluation asks: the candidate, the live release if another, the base.

    Each as `model` of a request and the digest of the adapter that has to answer, `base` for none. All of
    them go through the assistant, so that each gets the same instructions.
    """
    release = await releases.get_release(session, job.release_id or "")
    assistant = await assistants.get_assistant(session, release.assistant)
    asked: dict[Contestant, tuple[str, str]] = {
        "candidate": (f"{assistant.name}@{release.number}", release.adapter),
        "base": (f"{assistant.name}@0", "base"),
    }
    if assistant.live_release_id and assistant.live_release_id != release.id:
        live = await releases.get_release(session, assistant.live_release_id)
        asked["live"] = (f"{assistant.name}@{live.number}", live.adapter)
    return asked


async def finished_before(session: AsyncSession, assistant: str, *, limit: int = 10) -> list[str]:
    """Ids of the jobs of an assistant's finished evaluations, newest first."""
    query = (
        select(tables.Evaluation.job_id)
        .where(tables.Evaluation.assistant == assistant, tables.Evaluation.finished_at.is_not(None))
        .order_by(tables.Evaluation.finished_at.desc(), tables.Evaluation.created_at.desc())
        .limit(limit)
    )
    return list(await session.scalars(query))


async def finish(session: AsyncSession, job: tables.Job, report: EvaluationReport) -> None:
    """Keep the report; the release's gate is that of its newest finished evaluation."""
    evaluation = await of_job(session, job.id)
    evaluation.report, evaluation.finished_at = report.model_dump(), now()
    release = await releases.get_release(session, evaluation.release_id)
    release.evaluation_id = evaluation.id


async def of_job(session: AsyncSession, job_id: str) -> tables.Evaluation:
    return (await session.scalars(select(tables.Evaluation).where(tables.Evaluation.job_id == job_id))).one()


async def get_evaluation(session: AsyncSession, evaluation_id: str) -> tables.Evaluation:
    evaluation = await session.get(tables.Evaluation, evaluation_id)
    if evaluation is None:
        raise NotFound(f"No evaluation '{evaluation_id}'.")
    return evaluation


async def list_evaluations(session: AsyncSession, assistant: str | None) -> list[tables.Evaluation]:
    query = select(tables.Evaluation).order_by(tables.Evaluation.created_at.desc())
    if assistant is not None:
        query = query.where(tables.Evaluation.assistant == assistant)
    return list(await session.scalars(query))


async def shown(session: AsyncSession, evaluation: tables.Evaluation) -> Evaluation:
    job = await session.get_one(tables.Job, evaluation.job_id)
    release = await releases.get_release(session, evaluation.release_id)
    return Evaluation.model_validate(
        {
            "id": evaluation.id, "assistant": evaluation.assistant, "release": evaluation.release_id,
            "release_number": release.number, "status": job.status, "report": evaluation.report,
            "error": job.error["message"] if job.error else None, "coded_error": job.error,
            "created_at": evaluation.created_at, "finished_at": evaluation.finished_at or job.finished_at,
        }
    )  # fmt: skip

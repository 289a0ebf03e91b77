"""`/api/evaluations`: measure a release, follow it, read its report."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from service.api.deps import HouseDep, NoteDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract import folder
from service.contract.evaluations import Evaluation, EvaluationCreate
from service.domain import evaluations, jobs
from service.errors import NotFound

router = APIRouter(prefix="/api/evaluations", tags=["evaluations"])
PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
INERT = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"}
"""The report is a page of figures; whatever text is quoted in it must not run."""


@router.post("", status_code=201)
async def create_evaluation(
    wanted: EvaluationCreate, session: WriteDep, caller: ReviewerDep, note: NoteDep
) -> Evaluation:
    created = await evaluations.create_evaluation(
        session, user_id=caller.user_id, release_id=wanted.release, cases_file=wanted.cases_file
    )
    await note("evaluation.started", created.id, release=wanted.release)
    return await evaluations.shown(session, created)


@router.get("")
async def list_evaluations(session: ReadDep, _: ReviewerDep, assistant: str | None = None) -> dict[str, Any]:
    found = await evaluations.list_evaluations(session, assistant)
    return as_list([await evaluations.shown(session, evaluation) for evaluation in found])


@router.get("/{evaluation_id}")
async def retrieve_evaluation(evaluation_id: str, session: ReadDep, _: ReviewerDep) -> Evaluation:
    return await evaluations.shown(session, await evaluations.get_evaluation(session, evaluation_id))


@router.get("/{evaluation_id}/events")
async def list_events(
    evaluation_id: str, session: ReadDep, _: ReviewerDep, limit: int = 20
) -> dict[str, Any]:
    evaluation = await evaluations.get_evaluation(session, evaluation_id)
    found, more = await jobs.list_events(session, evaluation.job_id, after=None, limit=limit)
    return as_list(found, has_more=more)


@router.post("/{evaluation_id}/cancel")
async def cancel_evaluation(evaluation_id: str, session: WriteDep, caller: ReviewerDep) -> Evaluation:
    evaluation = await evaluations.get_evaluation(session, evaluation_id)
    await jobs.cancel(session, await jobs.get_job(session, caller, evaluation.job_id))
    return await evaluations.shown(session, evaluation)


@router.get("/{evaluation_id}/report", response_class=FileResponse, responses=PAGE)
async def report(
    evaluation_id: str, session: ReadDep, house: HouseDep, _: ReviewerDep, lang: Literal["en", "fr"] = "en"
) -> Response:
    """The report as a page with plots, in English or French; one from before there was French is in English."""
    evaluation = await evaluations.get_evaluation(session, evaluation_id)
    place = house.store.job(evaluation.job_id)
    page = place / folder.REPORT_PAGES[lang]
    page = page if page.exists() else place / folder.REPORT_PAGES["en"]
    if evaluation.report is None or not page.exists():
        raise NotFound(f"Evaluation '{evaluation_id}' has no report yet.")
    return FileResponse(page, media_type="text/html", headers=INERT)

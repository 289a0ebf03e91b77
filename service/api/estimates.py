"""`/api/estimates`: what a training job would learn and take, before there is one."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import APIRouter

from service.api.datasets import draft
from service.api.deps import CallerDep, House, HouseDep, ReviewerDep
from service.api.jobs import plan_round
from service.api.looks import looking
from service.contract import folder
from service.contract.estimates import Estimate, Look
from service.contract.jobs import JobCreate, RoundCreate, TrainingSpec
from service.contract.rendering import Rendered
from service.domain import estimates, job_requests, rounds, sheets
from service.domain.job_requests import Plan
from service.domain.keys import Caller
from service.engine import rendering, server
from service.errors import BadInput, Conflict, TooMany
from service.intake import process
from service.logs import log

router = APIRouter(prefix="/api/estimates", tags=["jobs"])
PATIENCE = 90.0
"""Seconds that a look may take: it reads a bounded number of rows."""
AT_ONCE = 2
"""Estimates under way; of one person, one."""
GPU = Path("/dev/nvidia0")


@router.post("")
async def estimate_job(wanted: JobCreate, house: HouseDep, caller: CallerDep) -> Estimate:
    """The body of a job's create, checked and reckoned. Makes no job: resolved hyperparameters, tokens and steps, how
    sample rows are learned, faults by name, time and memory with what they rest on."""
    settings = house.settings
    with _turn(house, caller):
        async with house.database.reading() as session:
            plan = await job_requests.plan(
                session, house.store, caller, wanted, base_name=settings.model_name, min_rows=settings.min_examples,
                bounds=house.bounds,
            )  # fmt: skip
        held = rounds.held(plan.signal, rounds.reason_of(wanted))
        return await _estimate(house, wanted, plan, held)


@router.post("/round")
async def estimate_round(wanted: RoundCreate, house: HouseDep, caller: ReviewerDep) -> Estimate:
    """The body of a round's start, reckoned alike: on the feedback as it stands, of which no dataset is made."""
    with _turn(house, caller):
        made = await draft(house, wanted.assistant, wanted.method, wanted.split_by)
        plan = await plan_round(wanted, house, caller, made)
        held = rounds.held(plan.signal, wanted.override_reason)
        return await _estimate(house, job_requests.of_round(wanted, "", None), plan, held)


@contextmanager
def _turn(house: House, caller: Caller) -> Iterator[None]:
    """A place among the estimates under way. Raises `TooMany` where there is none: nobody waits in line here."""
    if caller.user_id in house.estimating:
        raise TooMany("An estimate of yours is being made. Ask again when it is there.")
    if len(house.estimating) >= AT_ONCE:
        raise TooMany("Estimates of others are being made. Ask again in a few seconds.")
    house.estimating.add(caller.user_id)
    try:
        yield
    finally:
        house.estimating.remove(caller.user_id)


async def _estimate(house: House, wanted: JobCreate, plan: Plan, held: str | None) -> Estimate:
    settings = house.settings
    if house.tokenizer is None:
        said = "The base model's checkpoint is not on this machine, so its tokens cannot be counted."
        raise Conflict(said, code="no_checkpoint")
    async with house.database.reading() as session:
        cases = await job_requests.held_out_cases(session, house.store, plan.assistant)
        start = plan.start.digest if plan.start else None
        learned = await job_requests.learned_before(session, house.store, start)
    spec, files = job_requests.run_of(
        house.store, id_="estimate", kind=plan.kind, base_folder=settings.base_folder, base_name=settings.model_name,
        start=start, train=plan.training.sha256,
        validation=plan.validation.sha256 if plan.validation else None, cases=cases, learned=learned,
        settings=plan.settings, threads=1,
    )  # fmt: skip
    look, prompts = await _look(house, spec, files)
    up = [engine for engine in house.engines if engine.ready and not engine.hung]
    rendered = await rendering.compare(up, settings.model_name, prompts)
    async with house.database.reading() as session:
        before = await estimates.earlier(session, plan.kind, look.base_sha256, settings.training_processes)
        sheet = await sheets.find(session, plan.training.id) if plan.training.id else None
    machine = estimates.Machine(
        cores=settings.threads or os.cpu_count() or 1, has_gpu=GPU.exists(), max_rank=settings.max_lora_rank,
        layers=server.LINEAR, processes=settings.training_processes,
    )  # fmt: skip
    one_person = sheet.one_person() if sheet is not None else None
    return estimates.put_together(wanted, plan, look, rendered, before, machine, held, one_person)


async def _look(
    house: House, spec: TrainingSpec, files: dict[str, Path | str]
) -> tuple[Look, list[Rendered]]:
    """What the trainer's quick check says of a request, and how it reads the prompts of a few rows."""
    said = "Looking at the rows takes too long. Try a smaller file, or start the job: it checks them itself."
    async with looking(house, PATIENCE, BadInput(said, param="training_file", code="look_too_slow")) as place:
        await asyncio.to_thread(_lay_out, place, spec, files)
        code = await process.finished(place, "training", "--check", "--quick", str(place))
        return await asyncio.to_thread(_said, place, code)


def _lay_out(place: Path, spec: TrainingSpec, files: dict[str, Path | str]) -> None:
    """A run folder whose kept files are links: they are not copied."""
    place.mkdir(mode=0o700, parents=True)
    for name, source in files.items():
        if isinstance(source, str):
            (place / name).write_text(source)
        else:
            (place / name).symlink_to(source)
    folder.write_json(place / folder.JOB, spec.model_dump())


def _said(place: Path, code: int | None) -> tuple[Look, list[Rendered]]:
    if code == 0 and (place / folder.ESTIMATE).exists():
        prompts = [Rendered.model_validate(line) for line in folder.read_lines(place / folder.PROMPTS)]
        return Look.model_validate(folder.read_json(place / folder.ESTIMATE)), prompts
    if (place / folder.ERROR).exists():
        error = folder.read_json(place / folder.ERROR)
        raise BadInput(error["message"], param=error["param"], code=error["code"])
    log.error("a look at a request's rows broke off", extra={"fields": {"code": code}})
    raise Conflict("The look at the rows broke off without a word. Start the job: it says what is wrong.")

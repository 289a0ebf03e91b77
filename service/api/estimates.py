"""`/api/estimates`: what a training job would learn and take, before there is one."""

import asyncio
import os
from pathlib import Path

from fastapi import APIRouter

from service.api.deps import CallerDep, House, HouseDep
from service.contract import folder
from service.contract.estimates import Estimate, Look
from service.contract.jobs import JobCreate, TrainingSpec
from service.domain import estimates, job_requests
from service.domain.identity import new_id
from service.engine import server
from service.errors import BadInput, Conflict, TooMany
from service.intake import process
from service.logs import log

router = APIRouter(prefix="/api/estimates", tags=["jobs"])
PATIENCE = 90.0
"""Seconds that a look may take: it reads a bounded number of rows."""
GPU = Path("/dev/nvidia0")


@router.post("")
async def estimate_job(wanted: JobCreate, house: HouseDep, caller: CallerDep) -> Estimate:
    """The body of a job's create, checked and reckoned. Makes no job: resolved hyperparameters, tokens and steps, how
    sample rows are learned, faults by name, time and memory with what they rest on."""
    settings = house.settings
    async with house.database.reading() as session:
        plan = await job_requests.plan(
            session, house.store, caller, wanted, base_name=settings.model_name, min_rows=settings.min_examples,
            max_length=settings.max_row, width=house.width,
        )  # fmt: skip
        cases = await job_requests.held_out_cases(session, plan.assistant)
    if house.tokenizer is None:
        raise Conflict("The base model's checkpoint is not on this machine, so its tokens cannot be counted.")
    files = {folder.TRAIN: plan.training.sha256}
    if plan.validation is not None:
        files[folder.VALIDATION] = plan.validation.sha256
    if cases is not None:
        files[folder.CASES] = cases
    spec = estimates.spec_of(
        plan, house.store, base_folder=settings.base_folder, base_name=settings.model_name, cases=cases
    )
    look = await _look(house, spec, files)
    async with house.database.reading() as session:
        rates = await estimates.earlier(session, plan.kind, look.base_sha256)
    machine = estimates.Machine(
        cores=settings.threads or os.cpu_count() or 1, has_gpu=GPU.exists(), max_rank=settings.max_lora_rank,
        layers=server.LINEAR,
    )  # fmt: skip
    return estimates.put_together(wanted, plan, look, rates, machine)


async def _look(house: House, spec: TrainingSpec, files: dict[str, str]) -> Look:
    """What the trainer's quick check says of a request, in a place that goes afterwards. Raises `TooMany` while others
    are looked at: nobody waits in line here."""
    if house.looks.locked():
        raise TooMany("Another estimate is being made. Ask again in a few seconds.")
    place = house.store.imported(new_id("look_"))
    try:
        async with house.looks, asyncio.timeout(PATIENCE):
            await asyncio.to_thread(_lay_out, house, place, spec, files)
            code = await process.finished(place, "training", "--check", "--quick", str(place))
            return await asyncio.to_thread(_said, place, code)
    except TimeoutError:
        said = (
            "Looking at the rows takes too long. Try a smaller file, or start the job: it checks them itself."
        )
        raise BadInput(said, param="training_file", code="too_slow") from None
    finally:
        await asyncio.to_thread(house.store.drop_import, place.name)


def _lay_out(house: House, place: Path, spec: TrainingSpec, files: dict[str, str]) -> None:
    """A run folder whose files are links: nothing is copied."""
    place.mkdir(mode=0o700, parents=True)
    for name, sha256 in files.items():
        (place / name).symlink_to(house.store.file(sha256))
    folder.write_json(place / folder.JOB, spec.model_dump())


def _said(place: Path, code: int | None) -> Look:
    if code == 0 and (place / folder.ESTIMATE).exists():
        return Look.model_validate(folder.read_json(place / folder.ESTIMATE))
    if (place / folder.ERROR).exists():
        error = folder.read_json(place / folder.ERROR)
        raise BadInput(error["message"], param=error["param"], code=error["code"])
    log.error("a look at a request's rows broke off", extra={"fields": {"code": code}})
    raise Conflict("The look at the rows broke off without a word. Start the job: it says what is wrong.")

"""What the finished passes of a training job become while it runs: adapters that can be asked.

The trainer leaves each as a folder in the run folder, and the folder alone says that it waits: after an end without
warning it is found again, and one that was published before is not published twice. Each is held against the trainer
as the job's own adapter is, on fewer cases, and one that fails is told of and dropped; nothing here ends a job. Part
of the worker, so it commits its steps.
"""

import asyncio
import shutil
import time
from pathlib import Path

from service import outcomes
from service.contract import folder
from service.contract.jobs import Manifest, TrainingReport
from service.db.session import Database, is_held
from service.domain import adapters, jobs, passes
from service.errors import EngineTimeout, EngineUnavailable, TailorbirdError
from service.logs import log

POLL = 0.5
REST = 4.0
"""A proof is followed by a rest of so many times its length: training and people have the engine's machine then."""


async def follow(database: Database, parts: outcomes.Parts, job_id: str, place: Path) -> None:
    """Take in what a running job leaves, one pass after the other, until cancelled."""
    while True:
        began = time.monotonic()
        for left in _waiting(place)[:1]:
            try:
                await _take_in(database, parts, job_id, left)
            except Exception as error:
                if not is_held(error):
                    raise
        await asyncio.sleep(POLL + REST * (time.monotonic() - began))


async def take_in_rest(database: Database, parts: outcomes.Parts, job_id: str, place: Path) -> None:
    """Take in what a finished job's passes have left, as many as will be kept beside its own adapter.

    Raises what says that others hold the database; what is left then may be taken in again.
    """
    for left in _waiting(place)[-(folder.PASSES - 1) :]:
        await _take_in(database, parts, job_id, left)


async def _take_in(database: Database, parts: outcomes.Parts, job_id: str, left: Path) -> None:
    """One pass; its folder stays when the engine is not to be had now, or others hold the database, which is raised.
    The broad `except` is the edge of the pass."""
    step = folder.step(left)
    try:
        await _publish(database, parts, job_id, left)
    except (EngineUnavailable, EngineTimeout) as error:
        log.info("checkpoint waits", extra={"fields": {"job": job_id, "step": step, "why": error.message}})
        return
    except Exception as error:
        if is_held(error):
            raise
        if not left.exists():  # the trainer has a newer one in its place
            return
        log.warning("no checkpoint", exc_info=error, extra={"fields": {"job": job_id, "step": step}})
        why = error.message if isinstance(error, TailorbirdError) else "The worker's log says why."
        async with database.writing() as session:
            await jobs.add_event(
                session, job_id, f"No checkpoint of step {step}. {why} Training goes on.", level="warn",
                code="checkpoint_refused", data={"step": step},
            )  # fmt: skip
    await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)


async def _publish(database: Database, parts: outcomes.Parts, job_id: str, left: Path) -> None:
    async with database.reading() as session:
        if await passes.known(session, job_id, folder.step(left)):
            return
    report = TrainingReport.model_validate(folder.read_json(left / folder.REPORT))
    manifest = Manifest.model_validate(folder.read_json(left / report.adapter / folder.MANIFEST))
    servable = adapters.servable(parts.settings)
    digest, size = await asyncio.to_thread(parts.store.put_adapter, left / report.adapter, servable)
    try:
        proof = await outcomes.publishable(parts, digest, left)
    except BaseException:
        await outcomes.withdraw(parts, digest)
        raise
    made = {"digest": digest, "size": size, "manifest": manifest, "proof": proof, "report": report}

    async def record() -> None:
        async with database.writing() as session:
            await passes.publish(session, job_id, **made)

    # An end of the job in the midst of it would leave it unknown whether it is there.
    await asyncio.shield(record())


def _waiting(place: Path) -> list[Path]:
    """The oldest first."""
    return sorted(place.glob(f"{folder.PASS}*"), key=folder.step)

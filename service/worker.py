"""The worker: claims a job, runs it as a subprocess over a run folder, and takes in what comes out.

One job at a time. A claim is a lease, renewed while the subprocess lives; a worker that dies lets it
run out, and the job is claimed again: training goes on from its last checkpoint. The subprocess dies with the
worker. What it leaves behind is taken in only when `report.json` is there. A database that others hold is no fault
of a job: what is to be written waits. Knows no torch: the subprocess is named by its module.
"""

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from service import outcomes, passes, progress
from service.contract import folder
from service.contract.jobs import JobError, Progress
from service.contract.rendering import Rendered
from service.curves import Curves
from service.db import tables
from service.db.session import Database, is_held
from service.domain import jobs
from service.domain.keys import Hasher
from service.engine import rendering
from service.engine.client import Engine
from service.errors import TailorbirdError
from service.logs import log
from service.outcomes import NotServed
from service.progress import Follower
from service.settings import Settings
from service.storage.local import Store

POLL = 0.5
"""Seconds between two looks at the queue, or at a running job's progress."""
GRACE = 10.0
"""Seconds a subprocess has to end by itself: a cancelled one, or one to pause because the service stops."""

T = TypeVar("T")


class Worker:
    def __init__(self, settings: Settings, engine_urls: list[str]) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.store = Store(settings.home)
        self.engines = [Engine(url) for url in engine_urls]
        self.name = f"worker-{secrets.token_hex(6)}"
        self.parts = outcomes.Parts(settings, self.store, Hasher.of_home(settings.home), self.engines)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End after the present step; a running job goes back to the queue."""
        self._stopping.set()

    async def run(self) -> None:
        """Claim and run jobs until stopped."""
        self.store.prepare()
        log.info("worker ready")
        while not self._stopping.is_set():
            try:
                job = await self._claim()
                await (self._pause() if job is None else self._work(job))
            except Exception as error:
                if not is_held(error):
                    raise
                log.warning("others hold the database; a job that is claimed is left to its lease")
        for engine in self.engines:
            await engine.close()
        await self.database.close()

    async def _claim(self) -> tables.Job | None:
        async with self.database.writing() as session:
            await jobs.requeue_lost(session, self.settings.job_attempts)
            return await jobs.claim(session, self.name)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), POLL)
        except TimeoutError:
            return

    async def _work(self, job: tables.Job) -> None:
        """One job from claim to end. The broad `except` is the edge of the job: it ends as failed, with its reason.

        Raises what says that others hold the database: the job has not ended, and goes on when its lease has run out.
        """
        log.info("job begins", extra={"fields": {"job": job.id, "kind": job.kind, "attempt": job.attempts}})
        try:
            await self._execute(job)
        except Exception as error:
            if is_held(error):
                raise
            log.error("job failed", exc_info=error, extra={"fields": {"job": job.id}})
            await self._patiently(partial(self._fail, job, _as_error(error)))

    async def _patiently(self, write: Callable[[], Awaitable[T]]) -> T:
        """Again and again while others hold the database, unless the worker is to stop. Raises what `write` does."""
        while True:
            try:
                return await write()
            except Exception as error:
                if not is_held(error) or self._stopping.is_set():
                    raise
                log.warning("others hold the database; what is to be written waits")
                await self._pause()

    async def _execute(self, job: tables.Job) -> None:
        place = self.store.job(job.id)
        if not (place / folder.REPORT).exists():
            async with self.database.writing() as session:
                await jobs.reach(session, job.id, _reached(place))
            async with self.database.reading() as session:
                spec, inputs = await outcomes.prepare(session, self.parts, job)
            _lay_out(place, spec, inputs)
            ended = await self._run(job, place)
            if ended != "done":
                await self._patiently(partial(self._ended_early, job, place, ended))
                return
        keep = asyncio.create_task(self._keep_lease(job.id))
        try:
            await self._patiently(partial(passes.take_in_rest, self.database, self.parts, job.id, place))
            await self._patiently(partial(outcomes.take_in, self.database, self.parts, job, place))
        finally:
            keep.cancel()
        log.info("job done", extra={"fields": {"job": job.id}})

    async def _run(self, job: tables.Job, place: Path) -> str:
        """The subprocess, followed to its end: `done`, `interrupted`, `cancelled`, `lost`, `killed` or `failed`."""
        module = "evals" if job.kind == "evaluation" else "training"
        together, key = _together(self.settings, job.kind), None
        if job.kind == "evaluation":
            async with self.database.writing() as session:
                key = await outcomes.lend_key(session, self.parts, job)
        with open(place / folder.LOG, "ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, str(place), *_all_of(together),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env=outcomes.environment(self.parts, job, key=key), start_new_session=True, preexec_fn=_die_with_parent,
                cwd=Path(__file__).parent.parent,
            )  # fmt: skip
        curves, ended = Curves(self.settings, job, place), "failed"
        aside = [passes.follow(self.database, self.parts, job.id, place), curves.follow()]
        tasks = [asyncio.create_task(one) for one in aside]
        try:
            ended = await self._follow(job, place, process, together)
            return ended
        finally:
            for task in tasks:
                task.cancel()
            await _end(process)
            for broken in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(broken, Exception):
                    log.error("what goes on beside a job broke", exc_info=broken)
            await curves.end(ended)

    async def _follow(
        self, job: tables.Job, place: Path, process: asyncio.subprocess.Process, together: int
    ) -> str:
        """Until the subprocess has ended, or is to be ended. Raises `NotServed` for prompts read otherwise."""
        follow = Follower(place / folder.PROGRESS)
        ends_at, compared = None, False
        while True:
            wish = await self._patiently(partial(self._step, job, follow.news()))
            if wish in ("cancelled", "lost"):
                return wish
            if not compared and (place / folder.PROMPTS).exists():
                compared = True
                await self._compare_prompts(job, place)
            if wish == "stopped":
                ends_at = ends_at or time.monotonic() + GRACE
                if job.kind == "evaluation" or time.monotonic() > ends_at:
                    return "interrupted"
            _ask_to_pause(place, wish in ("stopped", "pause"))
            try:
                await asyncio.wait_for(process.wait(), POLL)
            except TimeoutError:
                continue
            await self._patiently(partial(self._step, job, follow.news()))
            code = process.returncode or 0
            return _ended_together(place, code) if together > 1 else _ended(place, code)

    async def _compare_prompts(self, job: tables.Job, place: Path) -> None:
        """Ask the engines for the tokens of what is about to be trained, while its process loads the model."""
        prompts = [Rendered.model_validate(line) for line in folder.read_lines(place / folder.PROMPTS)]
        found = await rendering.compare(self.engines, self.settings.model_name, prompts)
        if found.state == "different":
            raise NotServed(found.because, code=rendering.CODE, param=found.row)
        code = "prompts_same" if found.state == "same" else "prompts_unchecked"
        data = {"n": found.prompts, "sha256": (found.sha256 or "")[:12]}

        async def tell() -> None:
            async with self.database.writing() as session:
                await jobs.add_event(session, job.id, found.because, code=code, data=data)

        await self._patiently(tell)

    async def _step(self, job: tables.Job, news: list[Progress]) -> str:
        """Write the news, keep the lease, and see whether to go on: one transaction."""
        async with self.database.writing() as session:
            if not await jobs.renew(session, job.id, self.name):
                return "lost"
            for line in news:
                await progress.keep(session, job.id, line)
            fresh = await jobs.get_job(session, None, job.id)
            if news and news[-1].seconds_left is not None:
                fresh.estimated_finish = int(news[-1].at + news[-1].seconds_left)
            if fresh.cancel_requested:
                return "cancelled"
            if self._stopping.is_set():
                return "stopped"
            return "pause" if fresh.pause_requested else "go on"

    async def _keep_lease(self, job_id: str) -> None:
        async def renew() -> None:
            async with self.database.writing() as session:
                await jobs.renew(session, job_id, self.name)

        while True:
            await self._patiently(renew)
            await asyncio.sleep(jobs.LEASE / 4)

    async def _ended_early(self, job: tables.Job, place: Path, how: str) -> None:
        if how == "lost":
            log.warning("the job is another worker's now", extra={"fields": {"job": job.id}})
        elif how == "failed":
            await self._fail(job, _reason(place))
        elif how == "killed":
            log.warning("job killed", extra={"fields": {"job": job.id}})
            async with self.database.writing() as session:
                fresh = await jobs.get_job(session, None, job.id)
                if fresh.status == "running" and fresh.worker == self.name:
                    await jobs.killed(session, fresh)
        else:
            async with self.database.writing() as session:
                fresh = await jobs.get_job(session, None, job.id)
                if fresh.cancel_requested:
                    told = "Cancelled before its end."
                    await jobs.end(session, fresh, "cancelled", told, code="cancelled")
                elif fresh.worker == self.name:
                    await jobs.set_aside(session, fresh)

    async def _fail(self, job: tables.Job, error: JobError) -> None:
        async with self.database.writing() as session:
            fresh = await jobs.get_job(session, None, job.id)
            if fresh.status == "running" and fresh.worker == self.name:
                await jobs.end(session, fresh, "failed", error.message, error)


def _together(settings: Settings, kind: str) -> int:
    """How many processes do a job of this kind."""
    return settings.training_processes if kind in ("sft", "dpo", "kto") else 1


def _all_of(together: int) -> list[str]:
    return ["--processes", str(together)] if together > 1 else []


def _ended(place: Path, code: int) -> str:
    """How a subprocess ended, by its exit code. Raises `TailorbirdError` where nobody asked for it."""
    if code == folder.PAUSED:
        return "interrupted"
    if code == -signal.SIGKILL:
        return "killed"
    if code < 0:
        raise TailorbirdError(
            f"The job's process was ended by {signal.Signals(-code).name}, a fault of the program or of the machine; "
            f"its log is {place / folder.LOG}.",
            code="job_crashed",
        )
    return "done" if code == 0 and (place / folder.REPORT).exists() else "failed"


def _ended_together(place: Path, code: int) -> str:
    """The launcher only says whether all ended well. One that fails says why, one that is killed does not."""
    if code == 0:
        return "done" if (place / folder.REPORT).exists() else "interrupted"
    return "failed" if (place / folder.ERROR).exists() else "killed"


def _lay_out(place: Path, spec: dict[str, Any], inputs: dict[str, Path | str]) -> None:
    """A fresh run folder: of an earlier attempt only what it goes on from is left; `job.json` comes last."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.iterdir():
        if left.name.startswith((folder.CHECKPOINT, folder.PASS)) or left.name == folder.REPLAY:
            continue
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    for name, source in inputs.items():
        if isinstance(source, str):
            folder.write_atomic(place / name, source)
            continue
        try:
            os.link(source, place / name)
        except OSError:
            shutil.copyfile(source, place / name)
    folder.write_json(place / folder.JOB, spec)


def _reached(place: Path) -> int:
    """The step of the newest checkpoint in a run folder; 0 when there is none."""
    return max(map(folder.step, place.glob(f"{folder.CHECKPOINT}*")), default=0)


def _ask_to_pause(place: Path, wanted: bool) -> None:
    """Ask a run to pause, or take back that it was asked."""
    if wanted:
        (place / folder.PAUSE).touch()
    else:
        (place / folder.PAUSE).unlink(missing_ok=True)


def _reason(place: Path) -> JobError:
    """Why a subprocess failed: its own words, or where to look."""
    if (place / folder.ERROR).exists():
        return JobError.model_validate(folder.read_json(place / folder.ERROR))
    return JobError(
        code="job_crashed", message=f"The job ended without a word; its log is {place / folder.LOG}."
    )


def _as_error(error: Exception) -> JobError:
    if isinstance(error, TailorbirdError):
        return JobError(code=error.code or "failed", message=error.message, param=error.param)
    if isinstance(error, OSError) and error.errno == 28:
        return JobError(
            code="disk_full", message="The disk is full. Free some space and start the job again."
        )
    return JobError(code="internal", message="The job could not be finished; the worker's log says why.")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a subprocess and its whole group: first asked, then made to."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, sign)
            await asyncio.wait_for(process.wait(), GRACE)
        except (ProcessLookupError, TimeoutError):
            continue


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG (prctl(2)): a killed worker takes its job with it, or two would run after the restart.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

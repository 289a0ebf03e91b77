"""The batches under way: their lines asked through the gateway's own routes, a few at once, while nobody waits.

Runs in the gateway's process, where it can see who else is being answered, and where a line goes the way of
any request of its key: checked, limited, recorded. A line is done once its answer is on disk; a service that
is started again goes on with the rest. Knows no route's parameters and no rule of a batch.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
from starlette.types import ASGIApp

from service.api.deps import House, ask_ourselves
from service.contract.batches import Answer, AnsweredLine, BatchError, Line
from service.db import tables
from service.domain import batch_lines, batches, files
from service.errors import TailorbirdError
from service.logs import log
from service.looking import keep_looking
from service.storage.parts import read_whole
from service.storage.results import Results

POLL = 0.5
"""Seconds between two looks at what was begun or cancelled."""
PATIENCE = 30.0
"""Seconds that a line lets people go before; then one goes though the house is never quiet."""
ATTEMPTS = 3
"""How often a line is asked while the engine breaks off its answer."""
OUTAGES = 6
"""How often a line is asked while what it needs is away, though the engine is there: an adapter that cannot be
loaded, or a line that kills the engine. The pauses grow, two minutes in all; then the refusal is its answer."""
REST, LONGEST_REST = 10.0, 300.0
"""Seconds until a batch that our own failure stopped is taken up again: twice as long each time, up to the second."""
STOPS = 8
"""How often in a row, with no line answered in between, before it is given up: a quarter of an hour in all."""
GIVEN_UP = BatchError(
    code="service_failed",
    message=f"The service failed {STOPS} times at this batch; its log says why. What was answered is in the files. "
    "Make a batch of the rest.",
)


@dataclass
class _Run:
    task: asyncio.Task[None]
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    again_at: float | None = None


class Batches:
    """Run `run` as a task, in one gateway at a time."""

    def __init__(self, house: House, app: ASGIApp) -> None:
        self._house, self._app = house, app
        self._places = asyncio.Semaphore(house.settings.batch_lines)
        self._turn = asyncio.Lock()
        self._asking = 0
        self._runs: dict[str, _Run] = {}
        self._stops: dict[str, tuple[int, int]] = {}
        """{batch: (how often it was stopped in a row, lines it had then)}."""

    async def run(self) -> None:
        """Follow every batch to its end, until cancelled; what is being asked then is asked again later."""
        try:
            await keep_looking(self._look, POLL, "the batches cannot be looked at")
        finally:
            tasks = [run.task for run in self._runs.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        async with self._house.database.reading() as session:
            unfinished = await batches.unfinished(session)
        for batch_id, status in unfinished.items():
            if batch_id not in self._runs:
                cancelled = asyncio.Event()
                self._runs[batch_id] = _Run(asyncio.create_task(self._follow(batch_id, cancelled)), cancelled)
            elif status == "cancelling":
                self._runs[batch_id].cancelled.set()
        for batch_id, run in list(self._runs.items()):
            if run.task.done() and self._is_over(batch_id, run):
                del self._runs[batch_id]

    def _is_over(self, batch_id: str, run: _Run) -> bool:
        """A batch that something of ours stopped rests a while, and is then taken up again."""
        error = run.task.exception()
        if error is None:
            self._stops.pop(batch_id, None)
            return True
        if run.again_at is None:
            stops, lines = self._stops.get(batch_id, (0, 0))
            self._stops[batch_id] = (stops + 1, lines)
            log.error(
                "batch stopped", exc_info=error, extra={"fields": {"batch": batch_id, "times": stops + 1}}
            )
            run.again_at = time.monotonic() + min(REST * 2.0**stops, LONGEST_REST)
        return time.monotonic() > run.again_at

    async def _follow(self, batch_id: str, cancelled: asyncio.Event) -> None:
        """One batch, from where it stands to its end."""
        async with self._house.database.reading() as session:
            batch = await batches.get_batch(session, None, batch_id)
            source = await files.get_kept(session, batch.input_file_id)
        path = self._house.store.file(source.sha256)
        if self._stops.get(batch_id, (0, 0))[0] >= STOPS:
            await self._give_up(batch_id, path)
            return
        if batch.status == "validating":
            found = await asyncio.to_thread(batch_lines.check, path, batch.endpoint)
            async with self._house.database.reading() as session:
                await batches.look_up_models(session, found, base_name=self._house.settings.model_name)
            async with self._house.database.writing() as session:
                batch = await batches.get_batch(session, None, batch_id)
                await batches.begin(session, batch, found)
        if batch.status == "failed":
            return
        results = await asyncio.to_thread(Results, self._house.store.batch(batch_id))
        if batch_id in self._stops and len(results.done) > self._stops[batch_id][1]:
            self._stops[batch_id] = (0, len(results.done))
        try:
            end = await self._until_end(batch, batch_lines.read_lines(path, results.done), results, cancelled)
            if end == "completed":
                async with self._house.database.writing() as session:
                    end = batches.finalize(await batches.get_batch(session, None, batch_id))
            if batch.total and end != "completed":
                rest = batch_lines.never_asked(path, batch_id, results.done, end)
                await asyncio.to_thread(results.add, rest)
            await self._end(batch_id, results, end)
        finally:
            results.close()
        self._house.store.drop_batch(batch_id)
        log.info("batch ended", extra={"fields": {"batch": batch_id, "status": end}})

    async def _give_up(self, batch_id: str, path: Path) -> None:
        """The batch fails with what it has; lines of an input that cannot be read are not told of."""
        results = await asyncio.to_thread(Results, self._house.store.batch(batch_id))
        try:
            with suppress(OSError):
                rest = batch_lines.never_asked(path, batch_id, results.done, "failed")
                await asyncio.to_thread(results.add, rest)
            await self._end(batch_id, results, "failed")
        finally:
            results.close()
        self._house.store.drop_batch(batch_id)
        log.error("batch given up", extra={"fields": {"batch": batch_id}})

    async def _until_end(
        self, batch: tables.Batch, lines: Iterator[Line], results: Results, cancelled: asyncio.Event
    ) -> str:
        """Ask the lines. Returns how it ended: `completed`, `cancelled`, or `expired` when its day is over."""
        if batch.status != "in_progress":
            return "cancelled" if batch.status == "cancelling" else "completed"
        asked = asyncio.create_task(self._ask_all(batch, lines, results))
        told = asyncio.create_task(cancelled.wait())
        try:
            left = batch.expires_at - time.time()
            done, _ = await asyncio.wait(
                {asked, told}, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            asked.cancel()
            told.cancel()
            await asyncio.gather(asked, told, return_exceptions=True)
        if asked in done:
            asked.result()
            return "completed"
        return "cancelled" if told in done else "expired"

    async def _ask_all(self, batch: tables.Batch, lines: Iterator[Line], results: Results) -> None:
        source = asyncio.Lock()

        async def one_by_one() -> None:
            while True:
                async with source:
                    line = await asyncio.to_thread(next, lines, None)
                if line is None:
                    return
                answer = await self._answer(batch, line)
                line_id = batch_lines.line_id(batch.id, line.custom_id)
                await _kept(results, AnsweredLine(id=line_id, custom_id=line.custom_id, response=answer))
                async with self._house.database.writing(records=True) as session:
                    await batches.note(session, batch.id, results.counts(batch.total), results.usage)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._house.settings.batch_lines):
                group.create_task(one_by_one())

    async def _answer(self, batch: tables.Batch, line: Line) -> Answer:
        """What the endpoint says. While it is full the line waits; an outage or a break is asked again a few times."""
        attempts = 0
        while True:
            response = await self._in_turn(batch, line)
            wait = float(response.headers.get("retry-after", 0))
            if response.status_code == 429 and wait:
                await asyncio.sleep(min(wait, 60.0))
                continue
            attempts += 1
            if response.status_code == 503 and wait and attempts < OUTAGES:
                await asyncio.sleep(min(wait * 2.0 ** (attempts - 1), 60.0))
            elif response.status_code >= 500 and attempts < ATTEMPTS:
                await asyncio.sleep(1.0)
            else:
                return Answer(
                    status_code=response.status_code, request_id=response.headers.get("x-request-id", ""),
                    body=_body(response),
                )  # fmt: skip

    async def _in_turn(self, batch: tables.Batch, line: Line) -> httpx.Response:
        """Ask once there is a place, and nobody else is being answered."""
        async with self._places:
            async with self._turn:
                await self._quiet()
                self._asking += 1
            try:
                return await self._ask(batch.key_id, line)
            finally:
                self._asking -= 1

    async def _quiet(self) -> None:
        """Until the engine is there and nobody else is being answered; people are waited for only so long."""
        began, house = time.monotonic(), self._house
        while True:
            busy = house.under_way > self._asking and time.monotonic() < began + PATIENCE
            if house.engines.ready and not busy:
                return
            await asyncio.sleep(0.05)

    async def _ask(self, key_id: str, line: Line) -> httpx.Response:
        return await ask_ourselves(self._app, key_id, line.url, json.dumps(line.body).encode())

    async def _end(self, batch_id: str, results: Results, end: str) -> None:
        """The two files and the end of the batch, in one transaction."""
        rows = {"output": results.completed, "error": len(results.done) - results.completed}
        kept = {
            part: await asyncio.to_thread(self._house.store.put_file, read_whole([path]), path.stat().st_size)
            for part, path in (("output", results.output), ("error", results.errors))
            if rows[part]
        }
        async with self._house.database.writing() as session:
            batch = await batches.get_batch(session, None, batch_id)
            for part, (sha256, size) in kept.items():
                await batches.add_result(session, batch, part, sha256=sha256, size=size, rows=rows[part])
            await batches.note(session, batch_id, results.counts(batch.total), results.usage)
            if end == "failed":
                batch.errors = [GIVEN_UP.model_dump()]
            await batches.end(session, batch, end)


async def _kept(results: Results, line: AnsweredLine) -> None:
    """On disk, by another thread. Whoever is cancelled meanwhile waits for it: an answer is neither lost nor, as one
    that was never asked, told a second time."""
    writing = asyncio.ensure_future(asyncio.to_thread(results.add, [line]))
    try:
        await asyncio.shield(writing)
    finally:
        await asyncio.wait({writing})


def _body(response: httpx.Response) -> dict[str, object]:
    """As the endpoint sent it; what broke before it could say a word gets the words of any failure of ours."""
    if response.headers.get("content-type", "").startswith("application/json"):
        return orjson.loads(response.content)
    return TailorbirdError("The service failed at this request; its log says why. Send it again.").body()

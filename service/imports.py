"""The imports under way: one process after the other, each followed to its end.

Runs in the gateway's process and reads nothing itself. An import that another end of the service cancelled is
stopped at the next look; one that was cut short by the service's end is read again.
"""

import asyncio
from pathlib import Path
from typing import Any

from service.api.deps import House
from service.contract.imports import HELD_OUT, ROWS, STATE, ImportError, ImportReport
from service.domain import imports, origins
from service.errors import TailorbirdError
from service.intake import process
from service.logs import log
from service.looking import keep_looking

POLL = 0.5
"""Seconds between two looks at what was begun or cancelled."""


class Imports:
    """Run `run` as a task, in one gateway at a time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._now: tuple[str, asyncio.Task[None]] | None = None

    async def run(self) -> None:
        """Read in what was begun, oldest first, until cancelled."""
        try:
            await keep_looking(self._look, POLL, "the imports cannot be looked at")
        finally:
            if self._now is not None:
                self._now[1].cancel()
                await asyncio.gather(self._now[1], return_exceptions=True)

    async def _look(self) -> None:
        async with self._house.database.reading() as session:
            waiting = await imports.running(session)
        if self._now is not None:
            import_id, task = self._now
            if import_id not in waiting:
                task.cancel()
            if task.done() or task.cancelled() or task.cancelling():
                await self._end(import_id, task)
                self._now = None
        if self._now is None and waiting:
            self._now = (waiting[0], asyncio.create_task(self._follow(waiting[0])))

    async def _end(self, import_id: str, task: asyncio.Task[None]) -> None:
        """Wait for a task; what broke by a mistake of ours is told and not tried again."""
        (broke,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(broke, Exception):
            log.error("import broke", exc_info=broke, extra={"fields": {"import": import_id}})
            said = "The import could not be finished; the service's log says why."
            await self._fail(import_id, ImportError(code="internal", message=said))
        await asyncio.to_thread(_tidy, self._house.store.imported(import_id))

    async def _follow(self, import_id: str) -> None:
        """One import, from its plan to its file, or to why there is none."""
        house = self._house
        async with house.database.reading() as session:
            plan = (await imports.get_import(session, None, import_id)).plan
        try:
            made = await self._read(import_id)
        except (TailorbirdError, process.Refused, OSError) as error:
            await self._fail(import_id, _as_error(error), plan)
            return
        async with house.database.writing() as session:
            found = await imports.get_import(session, None, import_id)
            if (
                found.status == "running" and found.plan == plan
            ):  # else it was started anew, and is read again
                await imports.succeed(session, found, made)
        log.info("import ended", extra={"fields": {"import": import_id, "rows": made.report.taken}})

    async def _read(self, import_id: str) -> imports.Made:
        house = self._house
        async with house.database.reading() as session:
            found = await imports.get_import(session, None, import_id)
            spec = await imports.spec_of_import(session, house.store, found, tokenizer=house.tokenizer)
        place = house.store.imported(import_id)
        report = ImportReport.model_validate(await process.run(place, spec))
        made = {ROWS: report.sheet.sha256}
        if report.split is not None and report.split.held_out is not None:
            made[HELD_OUT] = report.split.held_out.sha256
        sizes = [await asyncio.to_thread(house.store.adopt, place / name, sha) for name, sha in made.items()]
        await asyncio.to_thread(_tidy, place)
        told = [await origins.told_by(house.store.file(sha), report.kind) for sha in made.values()]
        return imports.Made(report, sizes, told)

    async def _fail(self, import_id: str, error: ImportError, plan: dict[str, Any] | None = None) -> None:
        async with self._house.database.writing() as session:
            found = await imports.get_import(session, None, import_id)
            if found.status == "running" and plan in (None, found.plan):
                imports.fail(found, error)
        await asyncio.to_thread(_tidy, self._house.store.imported(import_id))
        log.info("import failed", extra={"fields": {"import": import_id, "code": error.code}})


def _as_error(error: Exception) -> ImportError:
    if isinstance(error, process.Refused):
        return error.error
    if isinstance(error, TailorbirdError):
        return ImportError(code=error.code or "failed", message=error.message)
    return ImportError(
        code="disk", message=f"The disk refused: {error}. Free some space and start the import again."
    )


def _tidy(place: Path) -> None:
    """What was needed while reading."""
    for pattern in ("*.part", "*.index", ROWS, HELD_OUT, STATE):
        for path in place.glob(pattern):
            path.unlink(missing_ok=True)

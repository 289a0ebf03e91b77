"""D1: a million rows brought as CSV and read in: processor time and memory by the row, and how far its bar says it is.

A tenth and a quarter of them are read first: time is to grow as the rows do, which a quarter is long enough to tell,
and memory hardly at all, even from the tenth on. Each is read by the process that the service starts, and watched as
the service watches it. Rows differ but for some that repeat, come near to another, or lack their answer, as in what
people bring.
"""

import asyncio
import hashlib
import resource
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from service.contract import folder
from service.contract.imports import STATE, ImportPlan, ImportProgress, ImportReport, IntakeSpec
from service.intake import process
from tests.bench.figures import Figure, of_rounds

STORY = "D1"
ROWS, SHORT = 1_000_000, 100_000
SHARES = (0.1, 0.25, 1)
MEMORY, SHORT_MEMORY = 1.5, 2.0
"""That all of them may take at most, beside a tenth: which of the short form does not fill what is held at once."""
LOOK = 0.25
"""Seconds between two looks at how far it is."""


class Read(NamedTuple):
    report: ImportReport
    processor: float
    """Seconds."""
    told: list[float]
    """Where the bar stood, look by look."""


async def measure(home: Path, *, short: bool = False) -> list[Figure]:
    """Rows a second, what each takes, memory, and the bar."""
    count = SHORT if short else ROWS
    tenth, quarter, whole = [await _read(home, round(count * share)) for share in SHARES]
    each = whole.processor / whole.report.read
    growth = each / (quarter.processor / quarter.report.read)
    peak, before = whole.report.peak_mb, tenth.report.peak_mb
    back = sum(now < then for then, now in pairwise(whole.told))
    found = f"{whole.report.taken} taken, {sum(whole.report.refused.values())} refused, " + ", ".join(
        f"{n} {why}" for why, n in sorted(whole.report.left_out.items())
    )
    rows = f"{whole.report.read} rows"
    return [
        _one(f"rows a second, of {rows}", whole.report.read / whole.report.seconds, detail=found),
        _one(f"processor time of one of {rows}", each * 1e3, unit="ms"),
        _one("the same, all / a quarter of them", growth, at_most=1.1),
        _one(f"peak of memory, {rows}", float(peak), unit="MB", at_most=200),
        _one("the same, all / a tenth of them", peak / before, at_most=SHORT_MEMORY if short else MEMORY,
             detail=f"{peak} / {before} MB, {tenth.report.read} rows"),
        _one("where the bar stood when it was first seen", whole.told[0], at_most=0.05),
        _one("where it stood when it was last seen", whole.told[-1], at_least=0.95),
        _one("looks at which it stood further back than before", float(back), at_most=0,
             detail=f"of {len(whole.told)}"),
    ]  # fmt: skip


def _one(what: str, value: float, **more: str | float) -> Figure:
    return of_rounds(STORY, what, [value], **more)


async def _read(home: Path, count: int) -> Read:
    path, place = home / f"{count}.csv", home / f"place-{count}"
    digest = await asyncio.to_thread(_write, path, count)
    spec = IntakeSpec(
        task="import", path=str(path), filename=path.name, sha256=digest,
        plan=ImportPlan(near_duplicates="leave_out", split_by="auto"),
    )  # fmt: skip
    before, told = _processor(), list[float]()
    reading = asyncio.create_task(process.run(place, spec))
    while not reading.done():
        await asyncio.wait([reading], timeout=LOOK)
        if (place / STATE).exists():
            told.append(ImportProgress.model_validate(folder.read_json(place / STATE)).share)
    report = ImportReport.model_validate(await reading)
    return Read(report, _processor() - before, told)


def _write(path: Path, count: int) -> str:
    with open(path, "w") as file:
        file.write("question,answer,ticket\n")
        for n in range(count):
            file.write(_row(n))
    with open(path, "rb") as made:
        return hashlib.file_digest(made, "sha256").hexdigest()


def _row(n: int) -> str:
    said = n - 1 if n % 100 in (1, 5) else n  # repeats the row before, or comes near to it
    answer = (
        ""
        if n % 100 == 2
        else f"Turn screw {said} of part {said * 7} by {said % 360} degrees, then look at it. " * 2
    )
    more = "Please." if n % 100 == 5 else ""
    return f'How is part {said} of machine {said % 97} mended?,"{answer}{more}",t{said // 3}\n'


def _processor() -> float:
    """Seconds of processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

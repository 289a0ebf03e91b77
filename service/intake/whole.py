"""A whole import: read, compared, written. In goes a plan, out come `rows.jsonl`, `refused.jsonl` and a report;
where rows are to be held out, `held_out.jsonl` too.

Each pass holds a few bytes for each row: the first converts and refuses, the second finds repetitions, the third
chooses what is held out, the last writes what stays and measures what is learnt from.
"""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import orjson

from service.contract import folder
from service.contract.imports import REFUSED, STATE, ImportProgress, ImportReport, IntakeSpec, Problem
from service.contract.sheets import Touch, Twins
from service.contract.splits import Split
from service.contract.words import words
from service.intake import rows
from service.intake.held_out import HeldOut
from service.intake.problems import BadFile, BadRecord, say
from service.intake.reading import Reader, Taken, way_of
from service.intake.sheet import Gathering
from service.intake.sources import Source
from service.intake.splits import HELD, NEITHER, Chosen, Files, Sides, Together
from service.intake.spool import DUPLICATE, NEAR, Beside, Spool

EXAMPLES = 20
"""Examples of each thing that a report names."""
PER_REASON = 5
MAX_REFUSED = 100_000
"""Refusals that are written down one by one; all are counted."""
EVERY = 0.5
"""Seconds between two words on how far it is."""
READING, COMPARING = 0.6, 0.7
"""Where on the bar the reading and the comparing end."""


class Import:
    def __init__(self, spec: IntakeSpec, place: Path) -> None:
        self.spec, self.place = spec, place
        self._held_out = HeldOut(spec.cases)
        self._spool: Spool | None = None
        self._refused: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._touched: list[Touch] = []
        self._read = 0
        self._told = 0.0

    def run(self) -> ImportReport:
        """Raises `BadFile` when the file as a whole is refused."""
        began = time.monotonic()
        source = Source(Path(self.spec.path), self.spec.plan, self.spec.filename)
        way = way_of(source, self.spec.plan)
        try:
            reader = Reader(self.spec, source, way)
            self._read_all(reader, source)
            spool = self._spool
            if spool is None:
                raise self._nothing("No row of the file can be used")
            near = self._compare(spool)
            gathered, split = self._write(spool, self._choose(spool, reader.together))
            if not gathered.rows:
                raise self._nothing("No row stays: all are held-out questions or repetitions")
        finally:
            if self._spool is not None:
                self._spool.close()
        plan = self.spec.plan
        sheet = gathered.sheet(
            sha256=split.training.sha256, exact_duplicates=spool.fate.count(DUPLICATE),
            near_duplicates=spool.fate.count(NEAR), near_examples=near, source=plan.source, licence=plan.licence,
            filename=self.spec.filename,
            filename_sha256=self.spec.sha256,
        )  # fmt: skip
        return ImportReport(
            format=way.format, kind=spool.kind, read=self._read,
            taken=gathered.rows + (split.held_out.rows if split.held_out else 0),
            refused=dict(self._refused.most_common()), problems=self._problems,
            left_out=dict(self._left_out.most_common()), cases=len(self._held_out), touched=self._touched,
            seconds=round(time.monotonic() - began, 1),
            peak_mb=peak_mb(), sheet=sheet, split=split if plan.split_by else None,
        )  # fmt: skip

    def _read_all(self, reader: Reader, source: Source) -> None:
        with open(self.place / REFUSED, "wb") as refused:
            for found in reader.rows():
                self._read += 1
                problem = found if isinstance(found, Problem) else self._take(found)
                if problem is not None:
                    self._refuse(problem)
                    if sum(self._refused.values()) <= MAX_REFUSED:
                        refused.write(orjson.dumps(problem.model_dump()) + b"\n")
                self._tell("reading", READING * source.share)

    def _take(self, found: Taken) -> Problem | None:
        spoken = rows.spoken(found.row, found.kind)
        said = words(spoken)
        touch = self._held_out.touch(found.line, rows.questions(found.row, found.kind), spoken)
        if touch is not None:
            self._left_out["held_out_case"] += 1
            self._touched += [touch][: EXAMPLES - len(self._touched)]
            return None
        if self._spool is None:
            self._spool = Spool(self.place, found.kind)
        try:
            self._spool.add(found.line, found.row, Beside(found.source, found.units, found.person), said)
        except (TypeError, UnicodeEncodeError):
            bad = BadRecord("not_utf8", "The row holds half of a character, or a number beyond 64 bits.")
            return bad.at(self.spec.filename, found.line)
        return None

    def _refuse(self, problem: Problem) -> None:
        if self.spec.plan.bad_rows == "refuse":
            raise BadFile("bad_row", say(problem), problem)
        self._refused[problem.reason] += 1
        if self._refused[problem.reason] <= PER_REASON:
            self._problems.append(problem)

    def _compare(self, spool: Spool) -> list[Twins]:
        near: list[Twins] = []
        for share, found in spool.find_repeats(EXAMPLES):
            near = found
            self._tell("comparing", READING + (COMPARING - READING) * share)
        return near

    def _stays(self, fate: int) -> bool:
        """Whether a row of this fate is kept; counted in the last pass alone."""
        plan = self.spec.plan
        return {DUPLICATE: plan.duplicates, NEAR: plan.near_duplicates}.get(fate, "keep") == "keep"

    def _choose(self, spool: Spool, together: Together) -> Chosen:
        """The side of each row that stays."""
        wish = self.spec.plan.split_by
        if wish is None:
            return Chosen("question", None, bytes(spool.count))
        sides = Sides(wish, together)
        for fate, row, beside in spool.read():
            if self._stays(fate):
                sides.add(beside.units, rows.questions(row, spool.kind))
            self._tell("comparing", COMPARING)
        return sides.decide()

    def _write(self, spool: Spool, chosen: Chosen) -> tuple[Gathering, Split]:
        gathered, sides = Gathering(spool.kind, self.spec.tokenizer), iter(chosen.sides)
        with ExitStack() as opened:
            files = Files(self.place, opened)
            for number, (fate, row, beside) in enumerate(spool.read()):
                if not self._stays(fate):
                    self._left_out["duplicate" if fate == DUPLICATE else "near_duplicate"] += 1
                    continue
                side = next(sides)
                if side == NEITHER:
                    self._left_out["asked_in_training"] += 1
                    continue
                files.write(side, orjson.dumps(row) + b"\n")
                if side != HELD:
                    gathered.add(row, beside)
                self._tell("writing", COMPARING + (1 - COMPARING) * number / spool.count)
            return gathered, files.split(chosen)

    def _tell(self, phase: str, share: float) -> None:
        if time.monotonic() < self._told + EVERY:
            return
        self._told = time.monotonic()
        state = ImportProgress.model_validate(
            {"phase": phase, "share": share, "rows": self._read, "refused": sum(self._refused.values())}
        )
        folder.write_json(self.place / STATE, state.model_dump())

    def _nothing(self, what: str) -> BadFile:
        first = self._problems[0] if self._problems else None
        said = f"{what} ({self._read} read). " + (say(first) if first else "Bring other rows.")
        return BadFile("no_rows", said, first)


def peak_mb() -> int:
    """Memory that this program took at most. Of `getrusage` that would be its parent's, where that had more."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0

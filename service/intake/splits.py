"""Which rows are held out: whole conversations, documents or persons where the rows tell them, else whole questions.

The side of a unit is drawn by its name, so it is the same in every file and stays when rows are added. Ten bytes of
memory for a row. Owns the parting of a checked training file, whose lines stay as they are.
"""

import hashlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

from service.contract.datasets import Kind, read_objects
from service.contract.imports import HELD_OUT, ROWS, Column, ImportPlan, IntakeSpec
from service.contract.splits import Part, Split, Unit, Wish, split_of
from service.contract.words import words
from service.intake import rows
from service.intake.problems import BadFile, ErrorCell

Told = Literal["conversation", "document", "person"]
TOLD: tuple[Told, ...] = get_args(Told)
FEW = 10
"""Different names in a column from which on `auto` goes by it and not by the next: of fewer, a fifth is none or very
much."""
SHORT = 4
"""Words below which a question, such as a greeting, tells nothing of what follows it."""
SLICE = 100_000
"""Numbers of questions that are held in memory as objects at once."""
TRAIN, HELD, NEITHER = 0, 1, 2


class Chosen(NamedTuple):
    """What was gone by, the column that told it, and the side of each row."""

    by: Unit
    column: str | None
    sides: bytes


class Together:
    """What a row belongs together with, in each way that comes into question: as a column names it, or else the origin
    that a row of ours carries."""

    def __init__(self, wish: Wish, mapping: dict[Column, str]) -> None:
        columns: dict[Unit, str | None] = {unit: mapping.get(unit) for unit in TOLD}
        columns["document"] = columns["document"] or mapping.get("source")
        told: list[Unit] = [unit for unit in TOLD if columns[unit]] or ["conversation"]
        self.ways = [(unit, columns.get(unit)) for unit in (told if wish == "auto" else [wish])]
        """Units, the best first, each with the column that tells it."""

    def of(self, value: dict[str, Any], row: dict[str, Any]) -> list[str | None]:
        """Of a record and the row that was made of it, for each way; none where neither tells."""
        origin = row.get("tailorbird")
        own = origin if isinstance(origin, dict) else {}
        return [named(own.get(unit) if column is None else value.get(column)) for unit, column in self.ways]


class Sides:
    """Fed every row that stays, in order; then asked for the side of each."""

    def __init__(self, wish: Wish, together: Together) -> None:
        self._wish, self._ways = wish, together.ways
        self._by_unit, self._by_question = [bytearray() for _ in self._ways], bytearray()
        self._questions = array("Q")
        self._units: list[set[str]] = [set() for _ in self._ways]

    def add(self, units: list[str | None], questions: list[str]) -> None:
        """A row by its units, where it tells any, and by what a person says in it."""
        begins = next((text for text in questions if len(words(text)) >= SHORT), "\n".join(questions))
        held = _side("question", _plain(begins))
        self._by_question.append(held)
        for (by, _), unit, sides, known in zip(self._ways, units, self._by_unit, self._units, strict=True):
            sides.append(_side(by, unit) if unit else held)
            if unit and len(known) < FEW:
                known.add(unit)
        self._questions.append(rows.number(_plain("\n".join(questions))))

    def decide(self) -> Chosen:
        """Raises `BadFile` when no row tells the unit that was asked for."""
        by, _ = self._ways[0]
        if self._wish not in ("auto", "question") and not self._units[0]:
            raise BadFile(
                "no_unit", f"No row tells its {by}. Name the column that does, or split by the question."
            )
        at = self._first(FEW)
        if at is None:
            return Chosen("question", None, self._with_both(self._by_question))
        return Chosen(*self._ways[at], self._with_both(self._by_unit[at]))

    def likely(self) -> Unit:
        """What the first rows of a file let expect: where they tell few units, more may follow."""
        at = self._first(FEW)
        at = self._first(1) if at is None else at
        return "question" if at is None else self._ways[at][0]

    def _first(self, enough: int) -> int | None:
        """The first way that tells so many units; of one that was asked for, or of an origin, any."""
        for at, ((by, column), known) in enumerate(zip(self._ways, self._units, strict=True)):
            if by != "question" and len(known) >= (enough if self._wish == "auto" and column else 1):
                return at
        return None

    def _with_both(self, sides: bytearray) -> bytes:
        """Without what is asked on both sides, which would measure memory; all in training if a side has nothing."""
        slices = 1 + len(sides) // SLICE
        for part in range(slices):
            mine = [at for at, number in enumerate(self._questions) if number % slices == part]
            learnt = {self._questions[at] for at in mine if sides[at] == TRAIN}
            for at in mine:
                if sides[at] == HELD and self._questions[at] in learnt:
                    sides[at] = NEITHER
        return bytes(sides if {TRAIN, HELD} <= set(sides) else len(sides))


class Files:
    """The two files of a folder, being written."""

    def __init__(self, place: Path, opened: ExitStack) -> None:
        self._files: list[BinaryIO] = [
            opened.enter_context(open(place / name, "wb")) for name in (ROWS, HELD_OUT)
        ]
        self._digests = [hashlib.sha256(), hashlib.sha256()]
        self.rows = [0, 0]

    def write(self, side: int, line: bytes) -> None:
        self._files[side].write(line)
        self._digests[side].update(line)
        self.rows[side] += 1

    def split(self, chosen: Chosen) -> Split:
        """What was written, on disk."""
        for file in self._files:
            file.flush()
        training, held = (
            Part(sha256=digest.hexdigest(), rows=count)
            for digest, count in zip(self._digests, self.rows, strict=True)
        )
        return Split(
            by=chosen.by, column=chosen.column, training=training, held_out=held if held.rows else None,
            left_out=chosen.sides.count(NEITHER),
        )  # fmt: skip


def part(spec: IntakeSpec, place: Path) -> Split:
    """Part a training file that was checked when it came: `rows.jsonl` and `held_out.jsonl`. Raises `BadFile`."""
    wish, kind = spec.plan.split_by or "auto", _kind(spec.plan)
    together = Together(wish, spec.plan.mapping)
    sides = Sides(wish, together)
    for row, _ in _lines(Path(spec.path)):
        sides.add(together.of(row, row), rows.questions(row, kind))
    chosen = sides.decide()
    with ExitStack() as opened:
        files = Files(place, opened)
        for side, (_, line) in zip(chosen.sides, _lines(Path(spec.path)), strict=True):
            if side != NEITHER:
                files.write(side, line)
        return files.split(chosen)


def named(found: object) -> str | None:
    """A unit or a source as a field names it; 0 is a name too."""
    return None if found is None or isinstance(found, ErrorCell) else str(found).strip() or None


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each row with its line as it stands, its end apart."""
    with open(path, "rb") as file:
        for line in file:
            for _, row in read_objects([line]):
                yield row, line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") + b"\n"


def _kind(plan: ImportPlan) -> Kind:
    kinds: dict[str, Kind] = {"openai-preference": "dpo", "kto": "kto"}
    return kinds.get(plan.format or "", "sft")


def _side(by: Unit, unit: str) -> int:
    return HELD if split_of(f"{by}:{unit}") == "held_out" else TRAIN


def _plain(text: str) -> str:
    return " ".join(words(text)) or text

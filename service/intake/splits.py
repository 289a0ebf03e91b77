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
from service.intake.problems import BadFile

Told = Literal["conversation", "document", "person"]
TOLD: tuple[Told, ...] = get_args(Told)
FEW = 10
"""Different names in a column from which on `auto` goes by it: of fewer, a fifth is none or very much."""
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
    """What a row belongs together with: as a column names it, or the origin that a row of ours carries."""

    def __init__(self, wish: Wish, mapping: dict[Column, str]) -> None:
        columns: dict[Unit, str | None] = {unit: mapping.get(unit) for unit in TOLD}
        columns["document"] = columns["document"] or mapping.get("source")
        first: list[Unit] = [unit for unit in TOLD if columns[unit]] or ["conversation"]
        self.by: Unit = wish if wish != "auto" else first[0]
        self.column = columns.get(self.by)

    def of(self, value: dict[str, Any], row: dict[str, Any]) -> str | None:
        """Of a record and the row that was made of it; none where neither tells."""
        if self.column is not None:
            return str(value.get(self.column) or "").strip() or None
        origin = row.get("tailorbird")
        return str(origin.get(self.by) or "") or None if isinstance(origin, dict) else None


class Sides:
    """Fed every row that stays, in order; then asked for the side of each."""

    def __init__(self, wish: Wish, together: Together) -> None:
        self._wish, self._together = wish, together
        self._by_unit, self._by_question = bytearray(), bytearray()
        self._questions = array("Q")
        self._units: set[str] = set()

    def add(self, unit: str | None, questions: list[str]) -> None:
        """A row by its unit, where it tells one, and by what a person says in it."""
        begins = next((text for text in questions if len(words(text)) >= SHORT), "\n".join(questions))
        held = _side("question", _plain(begins))
        self._by_question.append(held)
        self._by_unit.append(_side(self._together.by, unit) if unit else held)
        if unit and len(self._units) < FEW:
            self._units.add(unit)
        asked = _plain("\n".join(questions)).encode()
        self._questions.append(int.from_bytes(hashlib.blake2b(asked, digest_size=8).digest()))

    def decide(self) -> Chosen:
        """Raises `BadFile` when no row tells the unit that was asked for."""
        by = self._together.by
        if self._wish not in ("auto", "question") and not self._units:
            raise BadFile(
                "no_unit", f"No row tells its {by}. Name the column that does, or split by the question."
            )
        few = len(self._units) < FEW and self._together.column is not None
        if by == "question" or not self._units or (few and self._wish == "auto"):
            return Chosen("question", None, self._with_both(self._by_question))
        return Chosen(by, self._together.column, self._with_both(self._by_unit))

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

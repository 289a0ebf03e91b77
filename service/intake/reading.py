"""From a file and a plan to rows of ours: what the preview shows and what an import reads, by the same steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from service.contract.datasets import Kind
from service.contract.imports import BESIDE, Column, Format, ImportPlan, IntakeSpec, Preview, Problem
from service.intake import formats, messages
from service.intake.problems import BadFile, BadRecord
from service.intake.sources import Record, Source
from service.intake.splits import Sides, Together, named

LOOK = 200
"""Records that a preview reads, and by which a format is told."""
SHOWN = 5
PROBLEMS = 20
CUT = 300
"""Characters of a raw value that a preview shows."""
MOST_PARTS = 50
"""Of a list in a row that is shown, such as the turns of a conversation."""


@dataclass(frozen=True)
class Way:
    """How the records of a file are read, decided by its first ones."""

    format: Format
    mapping: dict[Column, str]
    recognised: Format | None
    columns: list[str]


@dataclass(frozen=True)
class Taken:
    line: int
    kind: Kind
    row: dict[str, Any]
    source: str | None
    units: list[str | None]
    """What it belongs together with, for each way to tell that (`Together.ways`)."""
    person: str | None


class Reader:
    """Reads a file under a plan. The first good row decides which kind the file is of."""

    def __init__(self, spec: IntakeSpec, source: Source, way: Way) -> None:
        self.spec, self.way = spec, way
        self._source = source
        self.together = Together(spec.plan.split_by or "auto", way.mapping)
        self._kind: Kind | None = None
        self.last: Record | None = None

    def rows(self) -> Iterator[Taken | Problem]:
        """Every record as a row, or as what is wrong with it."""
        for record in self._source.records():
            self.last = record
            try:
                yield self._taken(record)
            except BadRecord as bad:
                yield bad.at(self.spec.filename, record.line)

    def _taken(self, record: Record) -> Taken:
        if record.refused is not None:
            raise record.refused
        plan, value = self.spec.plan, record.value
        kind, row = formats.convert(value, self.way.format, self.way.mapping, plan.instructions)
        if self._kind is None:
            self._kind = kind
        if kind != self._kind:
            raise BadRecord("other_kind", f"The row is for '{kind}', the rows before it for '{self._kind}'.")
        source = self._told("source", value) or _origin(row)
        person = self._told("person", value) or named(_origins(row).get("person"))
        units = self.together.of(value, row)
        return Taken(record.line, kind, row, source and source[:200], units, person)

    def _told(self, what: Column, value: dict[str, Any]) -> str | None:
        column = self.way.mapping.get(what)
        return named(value.get(column)) if column else None


def way_of(source: Source, plan: ImportPlan) -> Way:
    """The format and the columns, recognised or as the plan says. Raises `BadFile` for a column that is not there."""
    columns: dict[str, None] = {}
    recognised: Format | None = None
    first = list(islice(source.records(), LOOK))
    for record in first:
        columns |= dict.fromkeys(record.value)
        recognised = recognised or formats.recognise(record.value)
    names = list(columns)[:200]
    own = set(plan.mapping) - set(BESIDE)
    form = plan.format or ("columns" if own else recognised) or "columns"
    mapping: dict[Column, str] = dict(plan.mapping)
    if not own:
        likely = formats.suggest(names, [record.value for record in first if record.value])
        for column, name in likely.items():
            if form == "columns" or column in BESIDE:
                mapping.setdefault(column, name)
    for column, name in mapping.items():
        if name not in columns:
            raise BadFile(
                "no_such_column",
                f"'{column}' is to come from '{name}', but the columns are {', '.join(names)}.",
            )
    return Way(form, mapping, recognised, names)


def preview(spec: IntakeSpec, source: Source) -> Preview:
    """What the first rows become."""
    way = way_of(source, spec.plan)
    reader = Reader(spec, source, way)
    rows: list[dict[str, object]] = []
    raw: list[dict[str, str]] = []
    problems: list[Problem] = []
    kind: Kind | None = None
    looked = refused = 0
    sides = Sides(spec.plan.split_by or "auto", reader.together)
    for found in islice(reader.rows(), LOOK):
        looked += 1
        if len(raw) < SHOWN and reader.last is not None and reader.last.value:
            raw.append({name[:100]: _cut(value) for name, value in reader.last.value.items()})
        if isinstance(found, Problem):
            refused += 1
            problems += [found][: PROBLEMS - len(problems)]
            continue
        kind = kind or found.kind
        sides.add(found.units, [])
        if len(rows) < SHOWN:
            rows.append(_shortened(found.row))
    if way.format == "columns" and kind is None:
        kind = formats.kind_of_mapping(way.mapping)
    container = source.container
    return Preview(
        container=container.kind, encoding=container.encoding, delimiter=container.delimiter, sheets=source.sheets,
        sheet=source.sheet, columns=way.columns, recognised=way.recognised, format=way.format, mapping=way.mapping,
        kind=kind, split_by=sides.likely(), looked_at=looked, rows=rows, raw=raw,
        problems=problems, refused=refused,
    )  # fmt: skip


def _origin(row: dict[str, Any]) -> str | None:
    """Where a row of ours is from: a document, or the release that was judged."""
    origin = _origins(row)
    if not origin or origin.get("document"):
        return origin.get("document")
    return f"release {origin['release']}" if origin.get("release") else "base model"


def _origins(row: dict[str, Any]) -> dict[str, Any]:
    origin = row.get("tailorbird")
    return origin if isinstance(origin, dict) else {}


def _shortened(value: Any) -> Any:
    """The same with each text cut: a preview is kept, and sent with every list."""
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shortened(one) for one in value[:MOST_PARTS]]
    return _cut(value) if isinstance(value, str) else value


def _cut(value: Any) -> str:
    said = value if isinstance(value, str) else messages.as_json(value)
    return said if len(said) <= CUT else f"{said[:CUT]}…"

"""A file as a stream of records: what it is, and one record after the other in constant memory.

Owns the telling of JSON lines, a JSON array, CSV and Excel apart by what is in them; the file's name only tells a text
to read from a CSV. Knows no format of training data.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from service.contract.datasets import MAX_LINE
from service.contract.imports import ImportPlan
from service.intake.problems import BadFile, BadRecord, document

LOOK = 256 * 1024
"""Bytes by which a file is recognised."""
PROSE = (".md", ".markdown", ".txt")
"""What a text to read is called. Only one with tabs is a table: Excel's "Unicode text"."""
SEPARATORS = ",;\t|"
"""Of a CSV, the likeliest first."""
FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file (.xls, .doc). Save it as .xlsx or as CSV UTF-8.",
    b"PAR1": "a Parquet file. Write it out as JSON lines first.",
    b"\x1f\x8b": "compressed (gzip). Unpack it first.",
}


@dataclass(frozen=True)
class Record:
    """One record of a file: its value by field, or why it cannot be read."""

    line: int
    value: dict[str, Any] = field(default_factory=dict)
    refused: BadRecord | None = None


@dataclass(frozen=True)
class Container:
    """What a file is, as far as reading it needs."""

    kind: Literal["jsonl", "json", "csv", "xlsx"]
    encoding: str | None = None
    delimiter: str | None = None


class Source:
    """A file being read. `share` says how far the reading is (0 to 1)."""

    def __init__(self, path: Path, plan: ImportPlan, filename: str = "") -> None:
        self.path, self.plan = path, plan
        self.container = recognise(path, plan.encoding)
        if (
            filename.lower().endswith(PROSE)
            and self.container.kind == "csv"
            and self.container.delimiter != "\t"
        ):
            raise document("a plain text or Markdown")
        self.sheets: list[str] = []
        self.sheet: str | None = None
        self._size = max(1, path.stat().st_size)
        self._done = 0.0

    @property
    def share(self) -> float:
        return min(1.0, self._done)

    def records(self) -> Iterator[Record]:
        """Every record, from the first on. Raises `BadFile` where the file cannot be read on."""
        from service.intake import json_array, tables

        if self.container.kind == "xlsx":
            book = tables.Workbook(self.path, self.plan.sheet)
            self.sheets, self.sheet = book.sheets, book.sheet
            for record in book.records():
                self._done = record.line / book.height
                yield record
            return
        with open(self.path, "rb") as file:
            if self.container.kind == "jsonl":
                records = read_lines(file)
            elif self.container.kind == "json":
                records = json_array.read(file)
            else:
                records = tables.read_csv(file, self.container.encoding or "utf-8", self.container.delimiter)
            for record in records:
                self._done = file.tell() / self._size
                yield record


def recognise(path: Path, encoding: str | None) -> Container:
    """What kind of file it is. Raises `BadFile` for one that is none of ours, or empty."""
    with open(path, "rb") as file:
        start = file.read(LOOK)
    if not start.strip():
        raise BadFile("empty_file", "The file is empty. Bring one with at least one row.")
    if start.startswith(b"%PDF"):
        raise document("a PDF")
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise BadFile("unknown_file", f"The file is {what}")
    if start.startswith(b"PK\x03\x04"):
        return Container("xlsx")
    encoding = encoding or encoding_of(start)
    if encoding == "utf-16" and encoding_of(start) != "utf-16":
        raise BadFile(
            "wrong_encoding", "The file does not begin as UTF-16 does. Name another encoding, or none."
        )
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start).lstrip("\ufeff \t\r\n")
    if "\x00" in text:
        raise BadFile(
            "unknown_file", "The file is not text. Bring JSON lines, a JSON array, CSV or Excel (.xlsx)."
        )
    if text.startswith("["):
        return Container("json", "utf-8")
    if text.startswith("{"):
        return Container("jsonl", "utf-8")
    return Container("csv", encoding, _delimiter(text))


def read_lines(file: BinaryIO) -> Iterator[Record]:
    """JSON lines; blank ones are left out."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
            yield Record(number, refused=_too_long())
        elif line.strip():
            yield _parsed(number, line.removeprefix(codecs.BOM_UTF8))


def _parsed(number: int, line: bytes) -> Record:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError:
            return Record(number, refused=BadRecord("not_utf8", "The row is not UTF-8."))
        said = f"The row is not valid JSON ({error.msg}, column {error.colno})."
        return Record(number, refused=BadRecord("not_json", said))
    if not isinstance(value, dict):
        return Record(number, refused=BadRecord("not_an_object", "The row is not a JSON object."))
    return Record(number, value)


def _too_long() -> BadRecord:
    return BadRecord("row_too_long", f"The row is longer than {MAX_LINE >> 20} MiB.")


def encoding_of(start: bytes) -> str:
    """UTF-8 wherever the beginning permits it; Excel's other two habits otherwise."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def _delimiter(text: str) -> str:
    """What Excel's own first line names (`sep=;`), else the commonest separator of the header, outside quotes."""
    if text[:4].lower() == "sep=" and text[4:5] in tuple(SEPARATORS):
        return text[4]
    header = "".join(text.split("\n", 1)[0].split('"')[::2])
    return max(SEPARATORS, key=header.count)


def is_text(said: str) -> bool:
    """Whether it is made of whole characters: no half of a pair, and no byte that its encoding has no letter for."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Tables as records: CSV and Excel. The first row names the columns.

Excel is read by openpyxl, imported only here; what it would hold in memory whole is measured before it is opened.
"""

import csv
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import date, datetime, time
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from service.contract.datasets import MAX_LINE
from service.intake.problems import BadFile, BadRecord, ErrorCell, document
from service.intake.sources import Record, is_text

WHOLE = 64 << 20
"""Bytes that a workbook's shared texts may have unpacked: they are in memory while it is read."""
MAX_COLUMNS = 1000
BROKEN = (
    KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError, OSError, EOFError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What openpyxl, and the parser it finds, raise at a workbook that is not whole."""
ERRORS = {"#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"}


def read_csv(file: BinaryIO, encoding: str, delimiter: str | None) -> Iterator[Record]:
    """Rows of a CSV; a row that holds line breaks is named by the line it begins on."""
    csv.field_size_limit(MAX_LINE)
    delimiter = delimiter or ","
    lines = _Lines(_lines(file, encoding))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        lines.record.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "expected after" not in str(error) or _goes_on(lines.record, delimiter):
                raise BadFile(
                    "bad_csv",
                    f"Line {line}: a double quote that opens here is never closed, so no row after it can be told. "
                    'Close it, or write it twice ("") where it is part of the text.',
                    line=line,
                ) from None
            yield Record(line, refused=_uneven("Text follows a closing double quote"))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None and cells[0].lower() == "sep=" and not any(cells[1:]):
            continue  # Excel's own word on the separator, which `sources` has read
        if header is None:
            header = _header(cells)
        else:
            yield _row(line, header, cells)


MAX_ROWS = 1_048_576
"""Of a sheet, as Excel itself has it: a row may claim any number, and those before it would be counted out."""


class Workbook:
    """One worksheet of an Excel file."""

    def __init__(self, path: Path, sheet: str | None) -> None:
        self.path = path
        _check_size(path)
        self._file = open(path, "rb")
        try:
            import openpyxl

            _forget_looks()
            self._book = openpyxl.load_workbook(self._file, read_only=True, data_only=True)
        except BROKEN as error:
            self._file.close()
            raise _broken() from error
        self.sheets = [one.title for one in self._book.worksheets]
        if not self.sheets or (sheet is not None and sheet not in self.sheets):
            self._file.close()
            raise BadFile(
                "no_such_sheet", f"The workbook has no sheet '{sheet}', but {', '.join(self.sheets)}."
            )
        self.sheet = sheet or self.sheets[0]
        self._table = self._book[self.sheet]
        self.height = max(1, self._table.max_row or 1)
        self._table.reset_dimensions()  # some programs write a wrong one, and rows would be missing

    def records(self) -> Iterator[Record]:
        """Rows below the first one that is not empty, each named by its number in the sheet."""
        header: list[str] | None = None
        with self._file, closing(self._book):
            try:
                for line, row in enumerate(self._table.iter_rows(max_row=MAX_ROWS, values_only=True), 1):
                    cells = [_text(cell) for cell in row]
                    if not any(cell.strip() for cell in cells):
                        continue
                    if header is None:
                        while not cells[-1].strip():
                            cells.pop()
                        header = _header(cells)
                    elif sum(map(len, cells)) > MAX_LINE:
                        said = f"The row is longer than {MAX_LINE >> 20} MiB."
                        yield Record(line, refused=BadRecord("row_too_long", said))
                    else:
                        yield _row(line, header, _trimmed(cells, len(header)))
            except BadFile:
                raise
            except BROKEN as error:
                raise _broken() from error


def _forget_looks() -> None:
    """openpyxl keeps the looks of each row that has any, for whoever writes the sheet again: half a kilobyte a row."""
    from openpyxl.worksheet import _read_only, _reader

    class Forgetful(_reader.WorkSheetParser):
        def parse_row(self, row: Any) -> Any:
            found = super().parse_row(row)
            self.row_dimensions.clear()
            return found

    _read_only.WorkSheetParser = Forgetful  # pyrefly: ignore[missing-attribute]  it has no types


def _row(line: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) > len(header):
        return Record(line, refused=_uneven(f"The row has {len(cells)} cells, the header {len(header)}"))
    if not is_text("".join(cells)):
        return Record(line, refused=BadRecord("not_utf8", "The row is not in the file's encoding."))
    return Record(line, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True)))


def _header(cells: list[str]) -> list[str]:
    """Names of columns: each its own, none empty."""
    if not is_text("".join(cells)):
        raise BadFile(
            "wrong_encoding",
            "The first row, which names the columns, is not in the file's encoding. Name another encoding, or none.",
        )
    if len(cells) > MAX_COLUMNS:
        raise BadFile("bad_header", f"The first row has {len(cells)} columns. Leave the needed ones only.")
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.split())[:100] or f"column {number}"
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines as the csv module wants them, line ends included; one without an end cannot fill the memory."""
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    text = TextIOWrapper(file, "utf-8-sig" if encoding == "utf-8" else encoding, errors, newline="")
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        if len(line) >= MAX_LINE:
            raise BadFile(
                "row_too_long",
                f"Line {number} is longer than {MAX_LINE >> 20} MiB. Split the row.",
                line=number,
            )
        yield line


class _Lines:
    """Lines one by one; `record` holds those that were read since it was cleared."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.record.append(line)
        return line


def _goes_on(record: list[str], delimiter: str) -> bool:
    """Whether a badly quoted row may go on in the next line: who takes quotes as they come would read on."""
    reader = csv.reader([*record, "\n"], delimiter=delimiter)
    next(reader)
    return reader.line_num > len(record)


def _trimmed(cells: list[str], width: int) -> list[str]:
    """Without the empty cells that a sheet carries beyond its last column."""
    while len(cells) > width and not cells[-1].strip():
        cells.pop()
    return cells


def _text(cell: Any) -> str:
    """A cell as a person reads it: 3 and not 3.0, dates as ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if cell in ERRORS:
        return ErrorCell(cell)
    # Excel writes a carriage return so, which openpyxl leaves as it is.
    return str(cell).replace("_x000D_\n", "\n").replace("_x000D_", "\n")


def _check_size(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as parts:
            inside: Iterable[zipfile.ZipInfo] = parts.infolist()
    except zipfile.BadZipFile as error:
        raise _broken() from error
    if any(part.filename == "word/document.xml" for part in inside):
        raise document("a Word document")
    if not any(part.filename == "xl/workbook.xml" for part in inside):
        raise BadFile("unknown_file", "The file is an archive, not an Excel workbook. Unpack it first.")
    for part in inside:
        if part.file_size > WHOLE and not part.filename.startswith("xl/worksheets/"):
            raise BadFile(
                "workbook_too_large",
                f"The workbook holds more than {WHOLE >> 20} MB of texts, which Excel's format keeps in one piece. "
                "Save the sheet as 'CSV UTF-8' and bring that: a CSV may be of any length.",
            )


def _uneven(what: str) -> BadRecord:
    return BadRecord("uneven_row", f"{what}.")


def _broken() -> BadFile:
    return BadFile(
        "broken_workbook", "The workbook cannot be read. Open it in Excel and save it again, or as CSV."
    )

"""Rows on their way: converted rows on disk, with what repetitions are found by. A few bytes of memory for a row.

Owns the files `rows.part` and `*.index` of an import's folder and the search for rows that say the same. A list of
numbers is searched in slices of its values, so that memory does not grow with the file.
"""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from service.contract.datasets import Kind
from service.contract.sheets import Twins
from service.contract.words import LIKE, alike, runs, words
from service.intake import minhash, rows

SLICE = 100_000
"""Numbers that are held in memory at once while repetitions are looked for: about 15 MB."""
RECENT = 256
"""Rows whose runs are kept in memory: the first of many alike is compared with each."""
FLUSH = 8192
KEPT, DUPLICATE, NEAR = 0, 1, 2


class Beside(NamedTuple):
    """Where a row is from, what it belongs together with, and whose it is, as far as it tells."""

    source: str | None
    units: list[str | None]
    person: str | None


class Spool:
    """Filled by `add`, then searched by `find_repeats`, then read by `read`."""

    def __init__(self, place: Path, kind: Kind) -> None:
        self.kind: Kind = kind
        self.count = 0
        self._open = ExitStack()
        self._rows: BinaryIO = self._open.enter_context(open(place / "rows.part", "wb+"))
        names = ["offset", "line", "same", *(f"band{n}" for n in range(minhash.BANDS))]
        self._columns = {name: _Column(self._open, place / f"{name}.index") for name in names}
        self._end = 0
        self._said = lru_cache(RECENT)(self._read_said)
        self.fate = bytearray()
        """What was found of each row: `KEPT`, `DUPLICATE` of an earlier one, `NEAR` to an earlier one."""

    def add(self, line: int, row: dict[str, Any], beside: Beside, said: list[str]) -> None:
        """Keep a row and what stands beside it; `said` are its words. Raises `TypeError` for what UTF-8 cannot hold."""
        data = orjson.dumps([row, *beside]) + b"\n"
        same, bands = rows.number(rows.whole(row, self.kind)), minhash.bands(runs(said, minhash.RUN))
        self._rows.write(data)
        numbers = (self._end, line, same, *bands)
        for column, number in zip(self._columns.values(), numbers, strict=True):
            column.add(number)
        self._end += len(data)
        self.count += 1
        self.fate.append(KEPT)

    def find_repeats(self, examples: int) -> Iterator[tuple[float, list[Twins]]]:
        """Mark the rows that repeat an earlier one. Yields how far it is (0 to 1) and the near ones found so far."""
        found: list[Twins] = []
        self._rows.flush()
        for index, _ in self._columns["same"].repeats():
            self.fate[index] = DUPLICATE
        yield 0.1, found
        for band in range(minhash.BANDS):
            for index, first in self._columns[f"band{band}"].repeats():
                if self.fate[index] != KEPT:
                    continue
                one, other = self._said(first), self._said(index)
                share = alike(one.all, other.all)
                if share >= LIKE and one.label == other.label and alike(one.answer, other.answer) >= LIKE:
                    self.fate[index] = NEAR
                    if len(found) < examples:
                        line, like = self._columns["line"].at(index), self._columns["line"].at(first)
                        found.append(Twins(line=line, like=like, share=round(share, 3)))
            yield 0.1 + 0.9 * (band + 1) / minhash.BANDS, found

    def read(self) -> Iterator[tuple[int, dict[str, Any], Beside]]:
        """Every row with its fate and what stands beside it, in order."""
        self._rows.seek(0)
        for fate, line in zip(self.fate, self._rows, strict=True):
            row, *beside = orjson.loads(line)
            yield fate, row, Beside(*beside)

    def close(self) -> None:
        self._open.close()

    def _read_said(self, index: int) -> "_Said":
        self._rows.seek(self._columns["offset"].at(index))
        row, *_ = orjson.loads(self._rows.readline())
        texts = rows.spoken(row, self.kind), rows.text(rows.answers(row, self.kind)[0])
        said, answer = (runs(words(text), minhash.RUN) for text in texts)
        return _Said(said, answer, row.get("label"))


class _Said(NamedTuple):
    """What a row says, in runs of words. Rows of opposite verdicts, or with other answers, do not say the same."""

    all: set[str]
    answer: set[str]
    """Of a pair the preferred one."""
    label: bool | None


class _Column:
    """One number of 64 bits for each row, on disk."""

    def __init__(self, opened: ExitStack, path: Path) -> None:
        self._file: BinaryIO = opened.enter_context(open(path, "wb+"))
        self._waiting = array("Q")
        self._count = 0

    def add(self, number: int) -> None:
        self._waiting.append(number)
        if len(self._waiting) >= FLUSH:
            self._flush()

    def at(self, index: int) -> int:
        self._flush()
        self._file.seek(index * 8)
        return int.from_bytes(self._file.read(8), _ORDER)

    def repeats(self) -> Iterator[tuple[int, int]]:
        """`(index, first index)` of every number that stands at an earlier index already."""
        self._flush()
        slices = 1 + self._count // SLICE
        for part in range(slices):
            first: dict[int, int] = {}
            for index, number in enumerate(self._numbers()):
                if slices == 1 or number % slices == part:
                    earlier = first.setdefault(number, index)
                    if earlier != index:
                        yield index, earlier

    def _numbers(self) -> Iterator[int]:
        at = 0
        while at < self._count:
            self._file.seek(at * 8)
            block = array("Q")
            block.frombytes(self._file.read(FLUSH * 64))
            at += len(block)
            yield from block

    def _flush(self) -> None:
        if self._waiting:
            self._file.seek(0, 2)
            self._waiting.tofile(self._file)
            self._count += len(self._waiting)
            self._file.flush()
            self._waiting = array("Q")


_ORDER = "little" if array("H", [1]).tobytes() == b"\x01\x00" else "big"

"""Markdown and plain text as blocks, line by line.

Of Markdown, what cuts a text is read: headings, blank lines, fences, front matter. Its marks stay as they are written,
since answers are shown as Markdown too. Lines that end only because the page did are made whole again: a model would
learn to break its own.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.intake.passages import Block
from service.intake.problems import BadFile

ATX = re.compile(r" {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$")
UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*$")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
BEGINS = re.compile(r"\s*(?:[-*+•–]\s|(?:\d{1,9}|[a-zA-Z])[.)]\s|[>|]|</?[a-zA-Z!]|\[[^\]]+\]:)")
"""An item of a list, a quotation, a row of a table, a tag, where a link leads: never the rest of the line before."""
RULE = re.compile(r"\s*([-*_=])(?:\s*\1){2,}\s*$")
MEANT = re.compile(r"(?: {2}|\\)$")
"""The end of a line of Markdown that shall end there."""
CUT = re.compile(r"\w-$")
"""The end of a line that breaks off in a word."""
TABLE = re.compile(r"\s*\|?[\s:]*-[-\s:]*\|[-|\s:]*$")
CODE = re.compile(r" {4}|\t")
COLUMNS = re.compile(r"\S(?:\t| {3,})\S")
WIDE = 50
"""Characters of the longest line of a paragraph in plain text, from which on its lines may be a page's."""


def text(path: Path, encoding: str) -> Iterator[Block]:
    """Paragraphs, told apart by blank lines."""
    open_ = _Open(_of_text)
    for number, line in _lines(path, encoding):
        if line.strip():
            open_.add(number, line)
        else:
            yield from open_.close()
    yield from open_.close()


def markdown(path: Path, encoding: str) -> Iterator[Block]:
    """Blocks, each under its headings."""
    open_, fence, front = _Open(_of_markdown), "", False
    for number, line in _lines(path, encoding):
        if (number == 1 and line.rstrip() == "---") or front:
            front = number == 1 or line.rstrip() not in ("---", "...")
            continue
        if fence:
            open_.add(number, line, listing=True)
            fence = "" if line.strip().startswith(fence) and not line.strip().strip(fence[0]) else fence
        elif found := FENCE.match(line):
            fence = found[1]
            open_.add(number, line, listing=True)
        elif found := ATX.match(line):
            yield from open_.close()
            open_.head(len(found[1]), found[2] or "")
        elif not open_.whole and len(open_.lines) == 1 and (found := UNDERLINE.match(line)):
            open_.head(1 if found[1][0] == "=" else 2, open_.lines.pop())
        elif line.strip():
            open_.add(number, line)
        else:
            yield from open_.close()
    yield from open_.close()


@dataclass
class _Open:
    """The block that is being read, and the headings it stands under."""

    made_whole: Callable[[list[str]], list[str]]
    lines: list[str] = field(default_factory=list)
    """As they stand in the file."""
    whole: list[str] = field(default_factory=list)
    """Those before them."""
    line: int = 1
    headings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, line: str, *, listing: bool = False) -> None:
        if not self.lines and not self.whole:
            self.line = number
        if listing:
            self._settle()
            self.whole.append(line.rstrip())
        else:
            self.lines.append(line)

    def head(self, level: int, title: str) -> None:
        said = LINK.sub(r"\1", title).translate({ord(mark): None for mark in "*`"}).strip()
        self.headings = [one for one in self.headings if one[0] < level]
        if said:
            self.headings.append((level, said[:200]))

    def close(self) -> Iterator[Block]:
        self._settle()
        if self.whole:
            yield Block("\n".join(self.whole), tuple(title for _, title in self.headings), line=self.line)
        self.whole = []

    def _settle(self) -> None:
        self.whole += self.made_whole(self.lines)
        self.lines = []


def _of_markdown(lines: list[str]) -> list[str]:
    """A line's end is a space, unless it is meant (CommonMark, 6.7 and 6.8)."""
    if any(map(TABLE.match, lines)) or (
        lines and (CODE.match(lines[0]) or lines[0].lstrip().startswith("<"))
    ):
        return [line.rstrip() for line in lines]
    return _joined(lines, lambda line, _: not MEANT.search(line))


def _of_text(lines: list[str]) -> list[str]:
    """A paragraph's lines are a page's where none but the last has room for the first word of the next, and most go on
    in small letters: addresses, opening hours and logs do not."""
    width, breaks = max(map(len, lines), default=0), list(itertools.pairwise(lines))
    full = all(len(line.rstrip()) + 1 + len(rest.split()[0]) > width for line, rest in breaks)
    small = sum(rest.lstrip()[0].islower() for _, rest in breaks)
    if width < WIDE or any(map(COLUMNS.search, lines)) or not full or 2 * small <= len(breaks):
        return [line.rstrip() for line in lines]
    return _joined(lines, lambda *_: True)


def _joined(lines: list[str], goes_on: Callable[[str, str], bool]) -> list[str]:
    """The lines, each with those after it in which it goes on."""
    whole: list[str] = []
    for at, line in enumerate(lines):
        rules = at and (RULE.match(line) or RULE.match(lines[at - 1]))
        if at and goes_on(lines[at - 1], line) and not BEGINS.match(line) and not rules:
            whole[-1] += ("" if CUT.search(whole[-1]) else " ") + line.strip()
        else:
            whole.append(line.rstrip())
    return whole


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Raises `BadFile` where the text is not in the encoding that its beginning is in."""
    errors = "replace" if encoding == "windows-1252" else "strict"
    with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=errors) as lines:
        try:
            for number, line in enumerate(lines, 1):
                yield number, line.rstrip("\r\n")
        except UnicodeError:
            raise BadFile(
                "mixed_encoding", "The text changes its encoding in the middle. Save it as UTF-8 and bring it again."
            ) from None  # fmt: skip

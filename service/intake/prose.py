"""Markdown and plain text as blocks, line by line.

Of Markdown, what cuts a text is read: headings, blank lines, fences, front matter. Everything else stays as it is
written, since answers are shown as Markdown too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.intake.passages import Block
from service.intake.problems import BadFile

ATX = re.compile(r" {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$")
UNDERLINE = re.compile(r" {0,3}(=+|-+)\s*$")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def text(path: Path, encoding: str) -> Iterator[Block]:
    """Paragraphs, told apart by blank lines."""
    open_ = _Open()
    for number, line in _lines(path, encoding):
        if line.strip():
            open_.add(number, line)
        else:
            yield from open_.close()
    yield from open_.close()


def markdown(path: Path, encoding: str) -> Iterator[Block]:
    """Blocks, each under its headings."""
    open_, fence, front = _Open(), "", False
    for number, line in _lines(path, encoding):
        if (number == 1 and line == "---") or front:
            front = number == 1 or line not in ("---", "...")
            continue
        if fence:
            open_.add(number, line)
            fence = "" if line.strip().startswith(fence) and not line.strip().strip(fence[0]) else fence
        elif found := FENCE.match(line):
            fence = found[1]
            open_.add(number, line)
        elif found := ATX.match(line):
            yield from open_.close()
            open_.head(len(found[1]), found[2] or "")
        elif len(open_.lines) == 1 and (found := UNDERLINE.match(line)):
            open_.head(1 if found[1][0] == "=" else 2, open_.lines.pop())
        elif line.strip():
            open_.add(number, line)
        else:
            yield from open_.close()
    yield from open_.close()


@dataclass
class _Open:
    """The block that is being read, and the headings it stands under."""

    lines: list[str] = field(default_factory=list)
    line: int = 1
    headings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, line: str) -> None:
        if not self.lines:
            self.line = number
        self.lines.append(line)

    def head(self, level: int, title: str) -> None:
        said = LINK.sub(r"\1", title).translate({ord(mark): None for mark in "*`"}).strip()
        self.headings = [one for one in self.headings if one[0] < level]
        if said:
            self.headings.append((level, said[:200]))

    def close(self) -> Iterator[Block]:
        if self.lines:
            yield Block("\n".join(self.lines), tuple(title for _, title in self.headings), line=self.line)
        self.lines = []


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Raises `BadFile` where the text is not in the encoding that its beginning is in."""
    errors = "replace" if encoding == "windows-1252" else "strict"
    with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=errors) as lines:
        try:
            for number, line in enumerate(lines, 1):
                yield number, line.rstrip()
        except UnicodeError:
            raise BadFile(
                "mixed_encoding", "The text changes its encoding in the middle. Save it as UTF-8 and bring it again."
            ) from None  # fmt: skip

"""A Word document (.docx) as blocks, piece by piece: its paragraphs, lists and tables under their headings.

Reads the two parts of the archive that hold text and styles, by the parser of Python's library, which keeps no tree.
What an archive or its XML could do to harm is refused: parts that unpack without end, and declared entities.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

from service.intake.passages import Block
from service.intake.problems import BadFile

UNPACKED = 64 << 20
"""Bytes that a part may unpack to."""
CHUNK = 1 << 16
BROKEN = (zipfile.BadZipFile, zlib.error, expat.ExpatError, KeyError, EOFError, NotImplementedError, OSError)
HEADING = re.compile(r"heading (\d)$")
Attributes = dict[str, str]


def blocks(path: Path) -> Iterator[Block]:
    """Raises `BadFile` for an archive that is none of Word's, broken, locked, or made to harm."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "word/document.xml" not in names:
                raise BadFile(
                    "unknown_document",
                    "The file is an archive, and not a Word document. Unpack it, and bring the documents in it.",
                )
            styles = _Styles()
            if "word/styles.xml" in names:
                for _ in _parsed(archive, "word/styles.xml", styles.start, None, None):
                    pass
            body = _Body(styles.levels)
            for _ in _parsed(archive, "word/document.xml", body.start, body.end, body.say):
                yield from body.taken()
    except BadFile:
        raise
    except BROKEN:
        raise BadFile(
            "broken_document", "The Word document cannot be read. Open it in Word, save it again, and bring that."
        ) from None  # fmt: skip


def _parsed(
    archive: zipfile.ZipFile,
    part: str,
    start: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None,
    say: Callable[[str], None] | None,
) -> Iterator[None]:
    """Read a part in chunks, with a pause after each."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_entities
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, say
    if archive.getinfo(part).flag_bits & 1:
        raise BadFile("locked", "The document asks for a password. Save it without one, and bring that.")
    unpacked = 0
    with archive.open(part) as file:
        while chunk := file.read(CHUNK):
            unpacked += len(chunk)
            if unpacked > UNPACKED:
                raise BadFile(
                    "unpacks_too_large",
                    f"The document's text unpacks to more than {UNPACKED >> 20} MB. Split it into several documents.",
                )
            parser.Parse(chunk, False)
            yield
    parser.Parse(b"", True)
    yield


def _refuse_entities(*_: object) -> None:
    raise BadFile(
        "entities", "The document declares entities of its own, which no Word document does and which can be made to "
        "harm. Open it in Word, save it again, and bring that."
    )  # fmt: skip


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _val(attributes: Attributes) -> str:
    return next((value for name, value in attributes.items() if _local(name) == "val"), "")


class _Styles:
    """Which styles are headings, and of which level."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self._style = ""

    def start(self, name: str, attributes: Attributes) -> None:
        match _local(name):
            case "style":
                found = (value for key, value in attributes.items() if _local(key) == "styleId")
                self._style = next(found, "")
            case "name":
                said = _val(attributes).lower()
                if said == "title":
                    self.levels[self._style] = 0
                elif found := HEADING.match(said):
                    self.levels[self._style] = int(found[1])
            case "outlineLvl" if (level := _val(attributes)).isdigit() and int(level) < 9:
                self.levels.setdefault(self._style, int(level) + 1)


class _Paragraph:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.level: int | None = None
        self.listed = False


class _Body:
    """Gathers the blocks that have ended; text boxes in a paragraph are paragraphs of their own."""

    def __init__(self, levels: dict[str, int]) -> None:
        self._levels = levels
        self._headings: list[tuple[int, str]] = []
        self._open: list[_Paragraph] = []
        self._tables: list[list[list[str]]] = []
        self._list: list[str] = []
        self._twice = 0
        """Depth in what stands a second time, for older programs."""
        self._text = False
        self._done: list[Block] = []

    def taken(self) -> list[Block]:
        done, self._done = self._done, []
        return done

    def start(self, name: str, attributes: Attributes) -> None:
        local = _local(name)
        if self._twice or local == "Fallback":
            self._twice += 1
            return
        here = self._open[-1] if self._open else None
        self._text = local == "t"
        if local == "p" and "wordprocessingml" in name:
            self._open.append(_Paragraph())
        elif local == "tbl":
            self._end_list()
            self._tables.append([])
        elif local == "tr" and self._tables:
            self._tables[-1].append([])
        elif local == "tc" and self._tables and self._tables[-1]:
            self._tables[-1][-1].append("")
        elif here is not None:
            self._within(here, local, attributes)

    def _within(self, here: _Paragraph, local: str, attributes: Attributes) -> None:
        match local:
            case "pStyle":
                here.level = self._levels.get(_val(attributes), here.level)
            case "outlineLvl" if (level := _val(attributes)).isdigit() and int(level) < 9:
                here.level = int(level) + 1
            case "numPr":
                here.listed = True
            case "tab":
                here.said.append("\t")
            case "br" | "cr":
                here.said.append("\n")
            case _:
                pass

    def say(self, text: str) -> None:
        if self._text and self._open and not self._twice:
            self._open[-1].said.append(text)

    def end(self, name: str) -> None:
        self._text = False
        if self._twice:
            self._twice -= 1
            return
        local = _local(name)
        if local == "p" and self._open and "wordprocessingml" in name:
            self._paragraph(self._open.pop())
        elif local == "tbl" and self._tables:
            self._table(self._tables.pop())
        elif local == "body":
            self._end_list()

    def _paragraph(self, ended: _Paragraph) -> None:
        text = "".join(ended.said).strip()
        if self._tables:
            row = self._tables[-1][-1] if self._tables[-1] else []
            if row and text:
                row[-1] = f"{row[-1]} {' '.join(text.split())}".strip()
        elif ended.level is not None:
            self._end_list()
            self._headings = [one for one in self._headings if one[0] < (ended.level or 0)]
            if text:
                self._headings.append((ended.level, " ".join(text.split())[:200]))
        elif ended.listed and text:
            self._list.append(f"- {text}")
        else:
            self._end_list()
            self._add(text)

    def _table(self, rows: list[list[str]]) -> None:
        """As Markdown has tables; one inside another's cell is part of that cell."""
        if self._tables:
            said = " ".join(cell for row in rows for cell in row if cell)
            if self._tables[-1] and self._tables[-1][-1]:
                self._tables[-1][-1][-1] = f"{self._tables[-1][-1][-1]} {said}".strip()
            return
        lines = [f"| {' | '.join(row)} |" for row in rows if any(row)]
        if len(lines) > 1:
            lines.insert(1, "|" + " --- |" * len(rows[0]))
        self._add("\n".join(lines))

    def _end_list(self) -> None:
        self._add("\n".join(self._list))
        self._list = []

    def _add(self, text: str) -> None:
        if text:
            self._done.append(Block(text, tuple(title for _, title in self._headings)))

"""A PDF's text as blocks: its pages' lines joined to paragraphs again, under the headings of its table of contents.

Read by pypdf, imported only here, in a process whose memory and time are bounded. No picture is looked at: a scanned
page holds no text for us.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from service.intake.passages import Block
from service.intake.problems import BadFile

HYPHEN = re.compile(r"(?<=[^\W\d_])[-\u00ad]\Z")
ITEM = re.compile(r"(?:[•▪◦‣●–*-]|\d{1,3}[.)]|[a-z][.)])\s+")
END = (".", "!", "?", ":", "…")
SHORT = 0.85
"""Of the longest line of a page: a shorter one that ends a sentence ends a paragraph."""
FURNITURE = 3
"""Pages from which on the same first or last line, on more than half of them, is a header or a footer."""
Heading = tuple[int, str]


class Pdf:
    """A PDF that can be read. Raises `BadFile` for one that cannot, and for one without any text."""

    def __init__(self, path: Path) -> None:
        import pypdf

        logging.getLogger("pypdf").setLevel(logging.CRITICAL)
        try:
            reader = pypdf.PdfReader(path)
            if reader.is_encrypted:
                raise BadFile(
                    "locked",
                    "The PDF is protected with a password. Save it without one ('print to PDF' does), and bring that.",
                )
            self._texts = [_clean(page.extract_text()) for page in reader.pages]
            self._outline = _outline(reader)
        except (BadFile, MemoryError):
            raise
        except Exception as error:  # pypdf raises what it meets in a file that is not whole
            raise BadFile(
                "broken_document", f"The PDF cannot be read ({type(error).__name__}). Open it in a PDF viewer, save or "
                "print it to a new PDF, and bring that.",
            ) from error  # fmt: skip
        self.pages = len(self._texts)
        self.empty = sum(not any(map(str.isalpha, text)) for text in self._texts)
        if self.empty == self.pages:
            raise BadFile(
                "scanned", f"None of the PDF's {self.pages} pages holds text: they are pictures, as a scanner makes "
                "them. Have the text recognised (OCR) first, and bring that."
            )  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """Paragraphs with their page and headings. Lines that stand on most pages are left out."""
        pages = [[line.strip() for line in text.splitlines()] for text in self._texts]
        furniture = _furniture(pages)
        now: list[Heading] = []
        for number, lines in enumerate(pages, 1):
            edges = _edges(lines)
            kept = [line for at, line in enumerate(lines) if at not in edges or _shape(line) not in furniture]
            waiting = dict(self._outline.get(number, ()))
            found = {_shape(line) for line in kept}
            for title in [title for title in waiting if _shape(title) not in found]:
                now = _under(now, (waiting.pop(title), title))
            part: list[str] = []
            for line in kept:
                title = next((title for title in waiting if _shape(title) == _shape(line)), None)
                if title is None:
                    part.append(line)
                    continue
                yield from _blocks(part, now, number)
                part, now = [], _under(now, (waiting.pop(title), title))
            yield from _blocks(part, now, number)


def _clean(text: str) -> str:
    """Without what no text holds: halves of characters, and marks of control."""
    sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return "".join(c for c in sound if c.isprintable() or c in "\n\t\u00ad")


def _outline(reader: Any) -> dict[int, list[tuple[str, int]]]:
    """Titles of the table of contents with their depth, by the page they lead to."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)

    def walk(items: Iterable[Any], depth: int) -> None:
        for item in items:
            if isinstance(item, list):
                walk(item, depth + 1)
                continue
            page = reader.get_destination_page_number(item)
            if page is not None and page >= 0 and (title := " ".join(str(item.title).split())[:200]):
                found[page + 1].append((_clean(title), depth))

    walk(reader.outline, 1)
    return found


def _under(now: list[Heading], new: Heading) -> list[Heading]:
    return [one for one in now if one[0] < new[0]] + [new]


def _shape(line: str) -> str:
    """A line but for its numbers, its spaces and its case."""
    return re.sub(r"\d+", "#", "".join(line.casefold().split()))


def _edges(lines: list[str]) -> set[int]:
    """Places of the first two and the last two lines with something in them."""
    filled = [at for at, line in enumerate(lines) if line]
    return {*filled[:2], *filled[-2:]}


def _furniture(pages: list[list[str]]) -> set[str]:
    seen: Counter[str] = Counter()
    for lines in pages:
        seen.update({_shape(lines[at]) for at in _edges(lines)})
    return {shape for shape, count in seen.items() if count >= FURNITURE and 2 * count > len(pages)}


def _blocks(lines: list[str], headings: list[Heading], page: int) -> Iterator[Block]:
    for text in _paragraphs(lines):
        yield Block(text, tuple(title for _, title in headings), page=page)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    longest = max(map(len, lines), default=0)
    text = ""
    for line in lines:
        if not line:
            if text:
                yield text
            text = ""
            continue
        if not text:
            text = line
        elif ITEM.match(line):
            text = f"{text}\n{line}"
        elif HYPHEN.search(text) and line[0].islower():
            text = HYPHEN.sub("", text) + line
        else:
            text = f"{text} {line}"
        if line.endswith(END) and len(line) < SHORT * longest:
            yield text
            text = ""
    if text:
        yield text

"""A document as passages: what kind it is, its reading, and what is refused of it as a whole.

The kind is told by what is in the file; a name that says another is refused, for one of the two is a mistake.
"""

import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from service.contract.documents import DocumentKind, DocumentRead
from service.intake.passages import Block, passages
from service.intake.problems import BadFile
from service.intake.sources import LOOK, encoding_of
from service.intake.whole import peak_mb

KINDS: dict[str, DocumentKind] = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".pdf": "pdf", ".docx": "docx",
}  # fmt: skip
CALLED: dict[DocumentKind, str] = {
    "markdown": "Markdown", "text": "plain text", "pdf": "a PDF", "docx": "a Word document (.docx)",
}  # fmt: skip
BINARY: dict[bytes, DocumentKind] = {b"%PDF": "pdf", b"PK\x03\x04": "docx"}
FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Word document (.doc), or one with a password. Save it as .docx without one.",
    b"{\\rtf": "rich text (.rtf). Save it as .docx.",
}
MOST_PASSAGES = 20_000


def read(path: Path, filename: str) -> DocumentRead:
    """Every passage of a document. Raises `BadFile` with the fact and the next step."""
    began = time.monotonic()
    with open(path, "rb") as file:
        start = file.read(LOOK)
    kind, pages, empty = _kind(start, Path(filename).suffix.lower()), None, 0
    blocks: Iterable[Block]
    if kind == "pdf":
        from service.intake.pdf import Pdf

        found = Pdf(path)
        blocks, pages, empty = found.blocks(), found.pages, found.empty
    elif kind == "docx":
        from service.intake import docx

        blocks = docx.blocks(path)
    else:
        from service.intake import prose

        blocks = (prose.markdown if kind == "markdown" else prose.text)(path, encoding_of(start))
    cut = list(islice(passages(blocks), MOST_PASSAGES + 1))
    if not cut:
        raise BadFile("no_text", "The document holds no text to make examples of. Bring one with some.")
    if len(cut) > MOST_PASSAGES:
        raise BadFile(
            "too_many_passages", f"The document has more than {MOST_PASSAGES:,} passages, more than people can "
            "confirm. Split it, and bring the parts that matter."
        )  # fmt: skip
    return DocumentRead(
        kind=kind, pages=pages, empty_pages=empty, passages=cut, seconds=round(time.monotonic() - began, 1),
        peak_mb=peak_mb(),
    )  # fmt: skip


def _kind(start: bytes, ending: str) -> DocumentKind:
    if not start.strip():
        raise BadFile("empty_document", "The document is empty. Bring one with some text.")
    if ending not in KINDS:
        raise BadFile(
            "not_a_document", f"A file called '{ending or 'nothing'}' is not read as a document. Bring Markdown (.md), "
            "plain text (.txt), PDF or Word (.docx), and rows to learn from as training data."
        )  # fmt: skip
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise BadFile("foreign_document", f"The file is {what}")
    binary: list[DocumentKind] = [kind for magic, kind in BINARY.items() if start.startswith(magic)]
    inside = binary[0] if binary else None
    named = KINDS[ending]
    if inside is None and b"\x00" in start and encoding_of(start) != "utf-16":
        raise BadFile(
            "foreign_document", "The file is neither text nor PDF nor Word (.docx). Save it as one of these."
        )
    found: DocumentKind = inside or ("markdown" if named == "markdown" else "text")
    if found != named:
        raise BadFile(
            "wrong_ending", f"The file is called '{ending}', but it is {CALLED[found]}. Give it the ending "
            "of what it is, and bring it again."
        )  # fmt: skip
    return named

"""A document's blocks cut into passages: pieces that can stand as an answer, each with its place and a question.

Owns the lengths and the wording of proposed questions. Knows no format of documents.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.contract.documents import Passage
from service.contract.words import words
from service.intake.languages import language

MOST = 1500
"""Characters of a passage: a long answer. What is longer is cut where a sentence ends."""
ENOUGH = 300
"""Characters from which a passage that stands under no heading takes no further paragraph."""
SENTENCE = re.compile(r"[.!?…»”\"]\s|\n")
ASKS = {"en": "What should I know about “{}”{}?", "fr": "Que faut-il savoir sur « {} »{} ?"}
"""A question for a heading that asks none itself, by the language of the passage."""


@dataclass(frozen=True)
class Block:
    """One paragraph, list, table or listing of a document, and where it stands."""

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None


def passages(blocks: Iterable[Block]) -> Iterator[Passage]:
    """Sections in one piece where they are short enough, long ones cut. What holds no letter is left out."""
    asked: tuple[str, ...] = ()
    for block in _joined(_cut(blocks)):
        said = language(words(block.text))
        first = block.headings != asked
        asked = block.headings
        yield Passage(
            text=block.text, headings=list(block.headings), page=block.page, line=block.line, language=said,
            # Two answers to one question would teach neither: a section's later pieces get no question.
            question=_question(block.headings, said) if first else "",
        )  # fmt: skip


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    now: list[Block] = []
    length = 0
    for block in blocks:
        full = length + len(block.text) > MOST or (not block.headings and length >= ENOUGH)
        if now and (full or block.headings != now[0].headings):
            yield _one(now)
            now, length = [], 0
        now.append(block)
        length += len(block.text) + 2
    if now:
        yield _one(now)


def _one(blocks: list[Block]) -> Block:
    first = blocks[0]
    return Block("\n\n".join(block.text for block in blocks), first.headings, first.page, first.line)


def _cut(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same, none longer than `MOST`."""
    for block in blocks:
        text, at = block.text.strip(), 0
        if not any(map(str.isalpha, text)):
            continue
        while len(text) - at > MOST:
            window = text[at : at + MOST]
            ends = [found.end() for found in SENTENCE.finditer(window)]
            end = next((end for end in reversed(ends) if end > MOST // 3), 0) or window.rfind(" ") + 1 or MOST
            yield Block(window[:end].strip(), block.headings, block.page, block.line)
            at += end
        if rest := text[at:].strip():
            yield Block(rest, block.headings, block.page, block.line)


def _question(headings: tuple[str, ...], said: str) -> str:
    if not headings:
        return ""
    *above, last = headings
    if last.endswith("?"):
        return last
    within = f" ({above[-1]})" if above else ""
    return ASKS[said].format(last, within) if said in ASKS else f"{last}{within}"

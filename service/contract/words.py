"""Text as words, and which texts say nearly the same: what repetition, overlap and lengths are measured by.

Knows no row and no file.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

WORD = re.compile(r"[぀-ヿ㐀-鿿]|\w+")
"""Words, and each character of scripts that are written without spaces (kana, Han)."""
LIKE = 0.8
"""What two sets have in common of all that either has, from which on their texts count as nearly the same."""


class Near:
    """Sets of words, ready for those that are alike another to be looked for.

    What is alike has four fifths of either in common, so a word in common is among the rarest fifth and one more of
    both (the prefix filter of Chaudhuri, Ganti and Kaushik 2006): only those are compared, and none that is alike is
    missed.
    """

    def __init__(self, texts: Iterable[set[str]]) -> None:
        self._texts = list(texts)
        self._often = Counter(word for text in self._texts for word in text)
        self._having: dict[str, list[int]] = defaultdict(list)
        for at, text in enumerate(self._texts):
            for word in self._rarest(text):
                self._having[word].append(at)

    def find(self, text: set[str]) -> dict[int, float]:
        """Those that are alike, by their place, and how alike."""
        maybe = sorted({at for word in self._rarest(text) for at in self._having.get(word, ())})
        return {at: share for at in maybe if (share := alike(text, self._texts[at])) >= LIKE}

    def _rarest(self, text: set[str]) -> list[str]:
        ordered = sorted(text, key=lambda word: (self._often[word], word))
        return ordered[: len(text) - math.floor(LIKE * len(text)) + 1]


def words(text: str) -> list[str]:
    """Words in order, without case and punctuation. An accent is a part of its letter, whichever way it is written: a
    Mac's file names and many PDFs write it behind the letter, where it would end the word."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs(found: list[str], length: int) -> set[str]:
    """Every run of `length` words; a shorter text is one run of its own."""
    if len(found) <= length:
        return {" ".join(found)} if found else set()
    return {" ".join(found[at : at + length]) for at in range(len(found) - length + 1)}


def alike(one: set[str], other: set[str]) -> float:
    """Jaccard's likeness: what both have of what either has (0 to 1)."""
    return len(one & other) / len(one | other) if one or other else 0.0

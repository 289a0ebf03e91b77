"""Text as words: what repetition, overlap and lengths are measured by. Knows no row and no file."""

import re
from zlib import crc32

WORD = re.compile(r"[぀-ヿ㐀-鿿]|\w+")
"""Words, and each character of scripts that are written without spaces (kana, Han)."""
MASK = (1 << 64) - 1
SPREAD = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio (Knuth, The Art of Computer Programming, 6.4): spreads neighbouring hashes."""


def words(text: str) -> list[str]:
    """Words in order, without case and punctuation."""
    return WORD.findall(text.casefold())


def runs(found: list[str], length: int) -> set[str]:
    """Every run of `length` words; a shorter text is one run of its own."""
    if len(found) <= length:
        return {" ".join(found)} if found else set()
    return {" ".join(found[at : at + length]) for at in range(len(found) - length + 1)}


def alike(one: set[str], other: set[str]) -> float:
    """Jaccard's likeness: what both have of what either has (0 to 1)."""
    return len(one & other) / len(one | other) if one or other else 0.0


def hash64(text: str) -> int:
    """The same on every machine and in every process, as Python's own hash of a text is not."""
    return crc32(text.encode()) * SPREAD & MASK

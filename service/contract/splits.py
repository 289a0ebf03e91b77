"""What is kept aside to check a training: rows that belong together stay on one side, and which side never changes.

Owns the draw, and the shapes of a request to part a file and of what came of it. Knows no file on disk.
"""

import hashlib
from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example

Unit = Literal["conversation", "document", "person", "question"]
"""What is wholly in training or wholly held out. Of `question`: rows that begin with the same question."""
Wish = Literal["auto", "conversation", "document", "person", "question"]
"""`auto`: by what the rows tell (a conversation, else a document, else a person), else by the question."""
Side = Literal["train", "held_out"]
HELD_OUT_SHARE = 5
"""One unit in so many is held out."""


def split_of(unit: str) -> Side:
    """`train` or `held_out`, for good: it depends on the unit's name alone."""
    first = hashlib.sha256(f"split:{unit}".encode()).digest()[0]
    return "held_out" if first % HELD_OUT_SHARE == 0 else "train"


class SplitCreate(Strict):
    """`POST /api/splits/{file_id}`."""

    model_config = example(by="question")

    by: Wish = "auto"
    column: str | None = Field(default=None, max_length=200)
    """The field of a row that names its conversation, document or person."""


class Part(Strict):
    sha256: str
    rows: int


class Split(Strict):
    """How rows were parted."""

    by: Unit
    column: str | None
    """That told the unit, where a column did."""
    training: Part
    held_out: Part | None
    """None: all rows belong together, so that nothing can be held out."""
    left_out: int
    """Rows of held-out units that ask what training asks: they stand on neither side."""


class Parted(Strict):
    """What a held-out file is the other part of."""

    of: str
    """The training file."""
    by: Unit
    column: str | None = None
    left_out: int = 0
    """Rows that stand on neither side."""
    source_sha256: str
    """Of what both were parted from: the file that somebody brought, or a dataset."""
    asked: SplitCreate | None = None
    """How an uploaded file was to be parted: the same request finds the same parts."""

"""The data sheet of a training file: what is in it, measured row by row, and where it is said to come from."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example
from service.contract.datasets import Kind
from service.contract.signal import ENOUGH, ONE_PERSON


class Bin(Strict):
    """Rows of about the same length."""

    least: int
    most: int
    rows: int


class Lengths(Strict):
    """How long something is, over all rows. All but `mean` and `total` are exact to three figures."""

    mean: float
    least: int
    median: int
    p95: int
    """19 rows of 20 are no longer than this."""
    most: int
    total: int
    bins: list[Bin] = []
    """Rows by length, for a plot: each as wide as the first, but for the last, which ends with the longest. None in a
    sheet of before they were counted."""


class Twins(Strict):
    """Two rows that say nearly the same, by the lines a person finds them at."""

    line: int
    like: int
    share: float
    """Of the runs of three words that the two have between them, those that stand in both (0 to 1)."""


class Touch(Strict):
    """A row that comes too near to a held-out question. Of which one and how near, only reviewers are told."""

    line: int
    case: str | None
    how: Literal["same", "runs", "near"] | None
    """`same` question, more than half of its runs of eight words (`runs`), or nearly the same (`near`)."""
    share: float | None


class Said(Strict):
    """`POST /api/sheets/{file_id}`: what a person knows of a file that no row tells. Left out: as said before."""

    model_config = example(source="our wiki, October", licence="CC BY 4.0")

    source: str | None = Field(default=None, max_length=500)
    licence: str | None = Field(default=None, max_length=200)


class Frozen(Strict):
    """The dataset whose training file or held-out file this is, byte for byte."""

    id: str
    assistant: str
    number: int


class DataSheet(Strict):
    """What a reader must know before a file is learnt from. Every figure is of the rows that are in it."""

    kind: Kind
    rows: int
    sha256: str
    prompt_words: Lengths
    answer_words: Lengths
    """Of the answer that is learnt; of the preferred one in a pair."""
    tokens: Lengths | None
    """Of a row's whole text by the base model's tokenizer, the template's own tokens left out; none where the
    tokenizer is not on this machine."""
    languages: dict[str, int]
    """Rows by `en`, `fr`, `other` and `unclear` (too few words to tell)."""
    labels: dict[str, int]
    """Desirable and undesirable for rated completions; the answers themselves where they are few and short, as in a
    classification; empty for all other data."""
    longer_chosen: int | None
    """Pairs whose preferred answer is the longer one, by words; none unless the rows are pairs."""
    people: int | None = None
    """Different persons that the column of persons names, or the origin of rows that came of feedback; none where
    neither does, or in a sheet of before they were counted."""
    largest_share: float | None = None
    """Share of all rows that one of them stands behind (0 to 1)."""
    exact_duplicates: int
    near_duplicates: int
    near_examples: list[Twins]
    sources: dict[str, int]
    """Rows by what stood in the column of sources, the commonest first; rows that came of feedback by what was judged
    (`release 2`, `base model`); empty where neither is told."""
    source: str | None
    licence: str | None
    """As the person who brought the file said it: of this one, or of the one that it is a part of."""
    frozen: Frozen | None = None
    """None for rows from elsewhere."""
    filename: str
    filename_sha256: str
    created_at: int

    def one_person(self) -> float | None:
        """The share of one person, where that is nearly all of what was preferred or rated: it is called
        `one_person`, as in feedback."""
        share = self.largest_share or 0
        return share if self.kind != "sft" and self.rows >= ENOUGH and share >= ONE_PERSON else None

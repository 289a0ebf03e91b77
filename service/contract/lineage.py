"""What feedback became, and what a dataset, an adapter or a release was made of.

People are pseudonyms. `learned` says that training saw the rows; held-out rows only measure.
"""

from service.contract.base import Strict
from service.contract.jobs import JobKind, JobStatus


class DatasetUse(Strict):
    id: str
    assistant: str
    kind: str
    number: int
    rows: int
    held_out: int
    learned: bool


class DocumentUse(Strict):
    """Drafts of one document that one person confirmed, and that went into a file."""

    document: str
    """Its file's name; the document may be deleted."""
    sha256: str
    file: str
    confirmed_by: str
    rows: int
    """That were given to the file's import, whose report says what stayed."""
    first_at: float
    last_at: float


class JobUse(Strict):
    id: str
    kind: JobKind
    """`import`: the adapter was trained elsewhere, and what it learned from is not known here."""
    status: JobStatus
    datasets: list[str]
    """Ids of the datasets it was given."""
    file: str | None
    """Its training file when that came from no dataset: somebody uploaded it."""
    start_adapter: str | None
    adapter: str | None
    learned: bool


class AdapterUse(Strict):
    digest: str
    model: str
    learned: bool
    inherited: bool
    """It learned this, or was made from this, only by going on from an earlier adapter."""
    deleted: bool
    cases: int = 0
    cases_sha256: str | None = None
    """Held-out questions that the trainer refused in its rows, and the SHA-256 of their list, as its manifest says."""


class ReleaseUse(Strict):
    id: str
    assistant: str
    number: int
    adapter: str
    live: bool
    learned: bool


class PersonUse(Strict):
    person: str
    rows: int
    held_out: int


class Lineage(Strict):
    """The same shape both ways. Lists of feedback are pages: go on with `after`."""

    datasets: list[DatasetUse]
    jobs: list[JobUse]
    documents: list[DocumentUse]
    """What stands in files that were made of documents, and who confirmed it."""
    adapters: list[AdapterUse]
    releases: list[ReleaseUse]
    people: list[PersonUse]
    """Whose feedback stands in the datasets, most rows first, 100 at most."""
    feedback: list[str]
    """Ids of the feedback in the datasets, in their order."""
    more: bool
    """Whether more feedback follows."""

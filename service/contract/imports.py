"""Training data from elsewhere: what is recognised, how its columns are read, what was taken and what refused.

Owns the shapes of a plan, a preview, a report and the folder's spec. Knows no file on disk.
"""

from typing import Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, example
from service.contract.datasets import Kind
from service.contract.sheets import DataSheet, Touch

Format = Literal[
    "openai-chat", "openai-preference", "prompt-completion", "preference", "kto", "sharegpt", "alpaca", "columns"
]  # fmt: skip
Column = Literal["system", "prompt", "completion", "chosen", "rejected", "label", "source"]
"""What a column can hold for us, in TRL's words; `system` is instructions, `source` is where a row is from."""
ImportStatus = Literal["ready", "running", "succeeded", "failed", "cancelled"]
Choice = Literal["leave_out", "keep"]

ROWS = "rows.jsonl"
"""In an import's folder: the rows that are taken."""
REFUSED = "refused.jsonl"
"""Likewise: a `Problem` for each row that is not."""
STATE = "state.json"
"""Likewise: the `ImportProgress`."""


class Problem(Strict):
    """Why a row is refused: where it is, which field, what is wrong and how to mend it."""

    file: str
    line: int
    """Of the file as an editor counts it; of the sheet, in a workbook."""
    field: str | None
    reason: str
    """A code that can be counted, such as `empty_field`."""
    problem: str
    mend: str


class ImportPlan(Strict):
    """How a file is to be read. What is left out is recognised."""

    model_config = example(format="columns", mapping={"prompt": "question", "completion": "answer"})

    format: Format | None = None
    mapping: dict[Column, str] = {}
    """For the format `columns`: which column holds what."""
    sheet: str | None = Field(default=None, description="worksheet of a workbook; default: the first")
    encoding: Literal["utf-8", "utf-16", "windows-1252"] | None = None
    instructions: str | None = Field(
        default=None, max_length=20_000, description="put before every row that brings none of its own"
    )
    assistant: str | None = Field(
        default=None,
        description="whose held-out questions no row may come near; default: those of every assistant",
    )
    source: str | None = Field(default=None, max_length=500)
    licence: str | None = Field(default=None, max_length=200)
    duplicates: Choice = "leave_out"
    near_duplicates: Choice = "keep"
    bad_rows: Literal["leave_out", "refuse"] = Field(
        default="leave_out", description="whether one bad row refuses the whole file"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "ImportPlan":
        if self.mapping and self.format not in (None, "columns"):
            raise ValueError("'mapping' belongs to the format 'columns'")
        return self


class KeptPlan(ImportPlan):
    """The plan that a file was looked at or read in by last."""


class Preview(Strict):
    """What the first rows of a file become under a plan."""

    container: Literal["jsonl", "json", "csv", "xlsx"]
    encoding: str | None
    delimiter: str | None
    sheets: list[str]
    sheet: str | None
    columns: list[str]
    recognised: Format | None
    """None: which column holds what must be said."""
    format: Format
    mapping: dict[Column, str]
    """Suggested, or as the plan has it."""
    kind: Kind | None
    looked_at: int
    rows: list[dict[str, object]]
    """The first rows as they will be learnt from."""
    raw: list[dict[str, str]]
    """The first records as they stand in the file, cut short."""
    problems: list[Problem]
    refused: int
    """Of the `looked_at` first rows."""


class ImportReport(Strict):
    """What became of every row of a file."""

    format: Format
    kind: Kind
    read: int
    taken: int
    refused: dict[str, int]
    """By reason."""
    problems: list[Problem]
    """The first of each reason; all of them are at `/api/imports/{id}/refused`."""
    left_out: dict[str, int]
    """Good rows that were left out: `duplicate`, `near_duplicate`, `held_out_case`."""
    cases: int
    """Held-out questions that the rows were held against."""
    touched: list[Touch]
    """The first rows that came too near to one; which question each came near to is told to reviewers alone."""
    seconds: float
    peak_mb: int
    """Memory that the import took at most."""
    sheet: DataSheet


class ImportProgress(Strict):
    phase: Literal["waiting", "reading", "comparing", "writing"]
    share: float
    """How much of the whole is done (0 to 1)."""
    rows: int
    refused: int


class ImportError(Strict):
    code: str
    message: str
    problem: Problem | None = None
    line: int | None = None
    """The line that a whole file is refused for, where it is one."""


class Import(Strict):
    id: str
    filename: str
    bytes: int
    status: ImportStatus
    plan: KeptPlan
    preview: Preview | None
    progress: ImportProgress | None
    """While it runs."""
    report: ImportReport | None
    error: ImportError | None
    file_id: str | None
    """The file that can be trained on."""
    created_at: int
    finished_at: int | None


class IntakeSpec(Strict):
    """`job.json` of an import, or of a look at a file or a document: what its process is told."""

    task: Literal["preview", "import", "document"]
    path: str
    filename: str
    sha256: str
    plan: ImportPlan
    cases: list[str] = []
    """Files of held-out questions."""
    tokenizer: str | None = None
    """The base model's `tokenizer.json`, where it is on this machine."""

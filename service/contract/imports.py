"""Training data from elsewhere: what is recognised, how its columns are read, what was taken and what refused.

Owns the shapes of a plan, a preview, a report and the folder's spec. Knows no file on disk.
"""

from typing import Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, example
from service.contract.datasets import Kind
from service.contract.sheets import DataSheet, Touch
from service.contract.splits import Split, Unit, Wish

Format = Literal[
    "openai-chat", "openai-preference", "prompt-completion", "preference", "kto", "sharegpt", "alpaca", "columns"
]  # fmt: skip
Column = Literal[
    "system", "prompt", "completion", "chosen", "rejected", "label", "source", "conversation", "document", "person"
]  # fmt: skip
"""What a column can hold for us, in TRL's words; `system` is instructions, `source` is where a row is from."""
BESIDE: tuple[Column, ...] = ("source", "conversation", "document", "person")
"""Columns that stand beside what is learnt, in any format: where a row is from, and what it belongs together with."""
ImportStatus = Literal["ready", "running", "succeeded", "failed", "cancelled"]
Choice = Literal["leave_out", "keep"]

ROWS = "rows.jsonl"
"""In an import's folder: the rows that are taken, to be learnt from."""
HELD_OUT = "held_out.jsonl"
"""Likewise: those that are held out."""
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
    """Which column holds what: for the format `columns` all of it, for any other `source`, `conversation`, `document`
    and `person`."""
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
    split_by: Wish | None = Field(
        default=None,
        description="hold one in five out, in a file of its own: whole conversations, documents, persons or questions, "
        "never rows; `auto` takes what the rows tell. Default: hold nothing out",
    )
    bad_rows: Literal["leave_out", "refuse"] = Field(
        default="leave_out", description="whether one bad row refuses the whole file"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "ImportPlan":
        if set(self.mapping) - set(BESIDE) and self.format not in (None, "columns"):
            raise ValueError(f"'mapping' belongs to the format 'columns', but for {', '.join(BESIDE)}")
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
    split_by: Unit | None = None
    """What rows would be kept together by, if enough of them differ in it."""
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
    """Good rows that were left out: `duplicate`, `near_duplicate`, `held_out_case`, and `asked_in_training`: a row of
    what is held out that asks what training asks."""
    cases: int
    """Held-out questions that the rows were held against."""
    touched: list[Touch]
    """The first rows that came too near to one; which question each came near to is told to reviewers alone."""
    seconds: float
    peak_mb: int
    """Memory that the import took at most."""
    sheet: DataSheet
    """Of the rows that are learnt from."""
    split: Split | None = None
    """Where the plan holds rows out: how many of those taken, and how they were chosen."""


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
    held_out_file_id: str | None = None
    """Of the rows that are held out, where there are any: a job's `validation_file`."""
    created_at: int
    finished_at: int | None


class IntakeSpec(Strict):
    """`job.json` of an import, or of a look at a file or a document: what its process is told."""

    task: Literal["preview", "import", "split", "document"]
    """`split`: a checked training file is parted, its lines as they are."""
    path: str
    filename: str
    sha256: str
    plan: ImportPlan
    cases: list[str] = []
    """Files of held-out questions."""
    tokenizer: str | None = None
    """The base model's `tokenizer.json`, where it is on this machine."""

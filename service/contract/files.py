"""Uploaded files, on OpenAI's wire."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, Wire
from service.contract.splits import Parted

PURPOSES = ("fine-tune", "evals", "batch", "adapter")
"""What a file can be uploaded for; `adapter` is ours. A batch leaves `batch_output`, a training `fine-tune-results`."""


class ExpiresAfter(Wire):
    """When a file is to be forgotten."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class File(Wire):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None
    kind: str | None = None
    """Ours: what its rows are: `sft`, `dpo`, `kto`, `cases`, `batch`, `batch_output`, `adapter` or `results`."""
    rows: int | None = None
    """Ours."""
    parted: Parted | None = None
    """Ours: of rows that are held out, which training file they belong to, and how the two were parted."""


class Parts(Strict):
    """A file in two: rows to learn from, and rows that are held out to measure what was learnt."""

    training_file: File
    held_out_file: File
    left_out: int
    """Rows on neither side: they are of held-out units, and ask what training asks."""


class Deleted(Wire):
    id: str
    object: str
    deleted: bool = True

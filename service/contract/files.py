"""Uploaded files, on OpenAI's wire."""

from typing import Literal

from pydantic import Field

from service.contract.base import Wire

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


class Deleted(Wire):
    id: str
    object: str
    deleted: bool = True

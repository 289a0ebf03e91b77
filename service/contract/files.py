"""Uploaded files, on OpenAI's wire."""

from typing import Literal

from service.contract.base import Wire

Purpose = Literal["fine-tune", "evals"]


class File(Wire):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class Deleted(Wire):
    id: str
    object: str
    deleted: bool = True

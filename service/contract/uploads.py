"""A large file sent in parts, on OpenAI's wire."""

from typing import Literal

from pydantic import Field

from service.contract.base import Wire, example
from service.contract.files import ExpiresAfter, File


class UploadCreate(Wire):
    """`POST /v1/uploads`: what will be sent."""

    model_config = example(
        bytes=112, filename="lessons.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )

    bytes: int = Field(ge=1)
    filename: str = Field(min_length=1, max_length=1000)
    mime_type: str = Field(max_length=200)
    """Asked for by OpenAI's wire; what the file holds is read, not believed."""
    purpose: str
    expires_after: ExpiresAfter | None = None


class UploadComplete(Wire):
    """`POST /v1/uploads/{id}/complete`: the parts in their order."""

    model_config = example(part_ids=["part_1f0c"])

    part_ids: list[str] = Field(min_length=1, max_length=10_000)
    md5: str | None = None


class Upload(Wire):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: File | None = None


class Part(Wire):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

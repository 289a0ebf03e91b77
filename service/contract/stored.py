"""Recorded chat completions as OpenAI's wire shows them again. Knows nothing of how they were made."""

from typing import Any, Literal

from pydantic import field_validator

from service.contract.base import Wire, example
from service.contract.sampling import check_metadata


class StoredChange(Wire):
    """The one thing of a stored completion that may change."""

    model_config = example(metadata={"ticket": "1482"})

    metadata: dict[str, str] | None

    @field_validator("metadata")
    @classmethod
    def _is_small(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        return check_metadata(metadata)


class StoredMessage(Wire):
    """One message that was asked with; what else it held stands beside."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None = None


class StoredDeleted(Wire):
    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True

"""OpenAI's lists: their shape, and the filter on metadata in their query."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from pydantic import BaseModel


def as_list(items: Sequence[BaseModel | dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    data = [item if isinstance(item, dict) else item.model_dump() for item in items]
    ids = [item.get("id") for item in data]
    return {
        "object": "list",
        "data": data,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": has_more,
    }


def metadata_wanted(request: Request) -> dict[str, str]:
    """What `metadata[key]=value` of the query asks for."""
    given = request.query_params.items()
    return {key[9:-1]: value for key, value in given if key.startswith("metadata[") and key.endswith("]")}

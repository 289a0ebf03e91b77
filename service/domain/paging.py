"""OpenAI's cursor: `after` is the id of the last item seen, `has_more` says whether to ask again."""

from collections.abc import Sequence
from typing import Any, TypeVar

from service.errors import BadInput

Item = TypeVar("Item")


def page(rows: Sequence[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    """The items behind `after`, at most `limit`, and whether more follow. Raises `BadInput` for a strange cursor."""
    start = 0
    if after is not None:
        ids = [_id(row) for row in rows]
        if after not in ids:
            raise BadInput(f"No item '{after}' in this list to go on from.", param="after")
        start = ids.index(after) + 1
    return list(rows[start : start + limit]), len(rows) > start + limit


def _id(row: Any) -> str:
    return str(row["id"] if isinstance(row, dict) else row.id)

"""What was read from the database a moment ago, and is taken as it was.

Most requests come again and again with the same key for the same model, and reading both again would cost
each of them two transactions. What this process changes is seen at once; what another one changes
(a second gateway, the worker, the command line) within `SECONDS`. Knows nothing of what it keeps.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from service.db.session import Database

Value = TypeVar("Value")
SECONDS = 1.0
MOST = 1000
"""Values kept; more than these and all are read again."""


class Recent(Generic[Value]):
    """Values that never change, by a key. What could not be found is not kept."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, tuple[Value, int, float]] = {}

    async def get(self, key: str, read: Callable[[], Awaitable[Value]]) -> Value:
        """The value of `key`, by `read` when it is not held or may have changed. Raises what `read` does."""
        changes, at = self._database.changes, time.monotonic()
        held = self._held.get(key)
        if held is not None and held[1] == changes and at < held[2]:
            return held[0]
        value = await read()
        if len(self._held) >= MOST:
            self._held.clear()
        # The state of before the read: what was committed meanwhile may not be in it.
        self._held[key] = (value, changes, at + SECONDS)
        return value

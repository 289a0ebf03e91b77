"""Whose adapter goes next: no request waits for ever because others keep every place in the engine's step taken.

vLLM 0.32 computes a step with at most `max_loras` adapters and passes over a waiting request whose adapter is not
among those at work. While these are asked again and again, before their last answer has ended, it passes over it for
ever. So requests stand in line here: one whose adapter is at work goes past those who wait, until the first of them has
waited `PATIENCE` seconds; then everybody stands behind it until an adapter has no answer left to give. Measured with
one place, four callers of one adapter and one of another, on a busy machine: straight the other was not answered in
30 s; in line it was, twice, after 8 and 16.

Knows the requests of one process; knows no engine. The base model needs no place.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

PATIENCE = 2.0


@dataclass
class _Waiting:
    adapter: str
    since: float
    admitted: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """At most `places` adapters at work at once, any number of requests each. Use it in one event loop."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._working: Counter[str] = Counter()
        self._line: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """Requests that stand in line."""
        return len(self._line)

    @asynccontextmanager
    async def taken(self, adapter: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the length of the block."""
        one = _Waiting(adapter, monotonic())
        self._line.append(one)
        self._admit()
        try:
            await one.admitted.wait()
            yield
        finally:
            if one.admitted.is_set():
                self._working[adapter] -= 1
                if not self._working[adapter]:
                    del self._working[adapter]
            else:
                self._line.remove(one)
            self._admit()

    def _admit(self) -> None:
        """Let in who may go now, in the order they came."""
        still, held_up = deque[_Waiting](), False
        for one in self._line:
            at_work = one.adapter in self._working
            room = len(self._working) < self._places and not still
            if not held_up and (at_work or room):
                self._working[one.adapter] += 1
                one.admitted.set()
                continue
            still.append(one)
            held_up = held_up or monotonic() - one.since > PATIENCE
        self._line = still

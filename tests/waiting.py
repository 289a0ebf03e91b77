"""Waiting for what another thread or process does: no longer than it takes, and as long as a busy machine may need."""

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], object],
    seconds: float = 60.0,
    what: str = "it did not come to that",
    every: float = 0.2,
) -> None:
    """Return when `true()` is, asked `every` so many seconds; fail with `what` when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(every)

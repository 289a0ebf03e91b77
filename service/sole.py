"""One process of a kind for each home: a lock that the kernel gives back however the process ends.

What a process finds under way when it starts, it takes for what a dead one left; so there must be no other.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import Conflict


@contextmanager
def sole(home: Path, what: str) -> Iterator[None]:
    """Hold the place of the one `what` of this home. Raises `Conflict` where another process has it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(home / f"{what}.lock", "a") as place:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A {what} runs already on {home}. Stop it first, or set TAILORBIRD_HOME to another folder."
            ) from None
        yield

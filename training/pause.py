"""A run that is asked to pause: it ends after its present step, and the next start goes on from there.

Asked by a file in the run folder (`folder.PAUSE`), answered with an exit code (`folder.PAUSED`). Knows no trainer.
"""

from pathlib import Path

from service.contract import folder


class Paused(Exception):
    """The run has ended early because it was asked to; what it needs to go on is on disk."""


def asked(run: Path) -> bool:
    return (run / folder.PAUSE).exists()


def answered(run: Path) -> None:
    """Forget the request, so that the next start goes on."""
    (run / folder.PAUSE).unlink(missing_ok=True)

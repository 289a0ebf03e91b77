"""The one exception by which a run is refused: a code for programs, a sentence for people.

Raised anywhere in the room, written to `error.json` at the edge (`training.__main__`). Beside it the one by which a
process ends because another of its run has.
"""

from service.contract.jobs import RunError


class Refused(Exception):
    """A run that must not go on. `message` says the fact, then the next step."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def error(self) -> RunError:
        return RunError(code=self.code, message=self.message, param=self.param)


class Left(Exception):
    """Another process of this run has ended, and left its reason if it could."""

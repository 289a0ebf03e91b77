"""The one way an evaluation is refused: a code, the fact, the next step.

Owns the exception that becomes `error.json`. Knows nothing of what is being refused.
"""

from service.contract.jobs import RunError


class Refused(Exception):
    """The evaluation cannot be run as it is; `error` is what `error.json` will hold."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error = RunError(code=code, message=message, param=param)

"""Every refusal of the service, and its status.

    TailorbirdError
    ├── BadInput          400  the request cannot be understood or is not allowed as it is
    ├── NotSignedIn       401  no key, a wrong key, an expired key
    ├── NotAllowed        403  the key's owner has not the role
    ├── NotFound          404
    ├── NotTaken          405  the address is there, for other methods
    ├── Conflict          409  true, but not now: the state does not permit it (never retried)
    ├── TooLarge          413
    ├── TooMany           429  full; come back in `retry_after` seconds
    │   ├── LimitReached  429  the key's minute is spent
    │   └── QuotaSpent    429  the key's day is spent
    ├── LedgerUnavailable 503  what a key may spend cannot be written down, so it may not
    ├── DatabaseUnavailable 503  it cannot be reached, or has no connection left
    ├── NoSpace           507  the disk is full
    ├── EngineUnavailable 503  the engine is starting or gone
    ├── EngineTimeout     504
    └── EngineError       502  the engine answered something it should not
        └── FilesGone     502  what it should serve is not in the store any more

The message says the fact, then the next step. `service.app` turns each into OpenAI's error body.
"""

from collections.abc import Mapping
from typing import Any


class TailorbirdError(Exception):
    """A refusal the caller should see. Raise a subclass."""

    status = 500
    kind = "server_error"
    code: str | None = None
    retry_after: float | None = None
    final = False
    """Whether sending it again soon cannot help; the SDK is told not to."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.line = line
        self.code = code or type(self).code

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error if self.line is None else {**error, "line": self.line}}


class BadInput(TailorbirdError):
    status, kind, code = 400, "invalid_request_error", "invalid_value"


class NotSignedIn(TailorbirdError):
    status, kind, code = 401, "invalid_request_error", "invalid_api_key"


class NotAllowed(TailorbirdError):
    status, kind, code = 403, "invalid_request_error", "insufficient_permissions"


class NotFound(TailorbirdError):
    status, kind, code = 404, "invalid_request_error", "not_found"


class NotTaken(TailorbirdError):
    status, kind, code = 405, "invalid_request_error", "method_not_allowed"


class Conflict(TailorbirdError):
    status, kind, code = 409, "invalid_request_error", "conflict"
    final = True


class TooLarge(TailorbirdError):
    status, kind, code = 413, "invalid_request_error", "too_large"


class TooMany(TailorbirdError):
    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"
    retry_after = 2.0
    limit = "overload"
    """What was full, for the figures."""
    headers: Mapping[str, str] = {}


class LimitReached(TooMany):
    pass


class QuotaSpent(TooMany):
    kind, code = "insufficient_quota", "insufficient_quota"
    final = True


class LedgerUnavailable(TailorbirdError):
    status, kind, code = 503, "server_error", "ledger_unavailable"
    retry_after = 2.0


class DatabaseUnavailable(TailorbirdError):
    status, kind, code = 503, "server_error", "database_unavailable"
    retry_after = 2.0


class NoSpace(TailorbirdError):
    status, kind, code = 507, "server_error", "disk_full"


class EngineUnavailable(TailorbirdError):
    status, kind, code = 503, "server_error", "engine_unavailable"
    retry_after = 5.0


class EngineTimeout(TailorbirdError):
    status, kind, code = 504, "server_error", "engine_timeout"


class EngineError(TailorbirdError):
    status, kind, code = 502, "server_error", "engine_error"


class FilesGone(EngineError):
    code = "files_gone"
    final = True

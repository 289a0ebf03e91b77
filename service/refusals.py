"""How every refusal looks: OpenAI's error body, its status and its headers.

Owns the translation of errors, ours and the framework's, into answers. Knows no route of ours.
"""

import errno
import math
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.contract.refusals import Refusal
from service.errors import (
    BadInput,
    DatabaseUnavailable,
    NoSpace,
    NotFound,
    NotTaken,
    TailorbirdError,
    TooMany,
)
from service.logs import log
from service.metrics import REFUSED

DESCRIBED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "Refused; the message says why, and what to do next."},
    "5XX": {"model": Refusal, "description": "Nothing to do with the request. Send it again a little later."},
}
"""What every route says in its description beside its own answer."""
OUTAGES = (OperationalError, NoConnection)
"""What the database raises when it cannot be reached, is held by somebody else, or has no connection left to give."""

ABSENT = {"/v1/responses/compact", "/v1/responses/input_tokens"}
"""Addresses of OpenAI's that are not here, though they look like one of a response."""


def install(app: FastAPI) -> None:
    """Answer every error in this form."""
    app.add_exception_handler(TailorbirdError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broke)
    for outage in OUTAGES:
        app.add_exception_handler(outage, _database_refused)


def answer(error: TailorbirdError) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, TooMany):
        REFUSED.labels(error.limit).inc()
        headers |= error.headers
    if error.retry_after is not None:
        # Rounded up: one that comes back a little early is refused again.
        headers |= {
            "retry-after": str(math.ceil(error.retry_after)),
            "retry-after-ms": str(math.ceil(error.retry_after * 1000)),
        }
    if error.final:
        # The SDK sends a 409 and a 429 again, as if they would pass; these do not.
        headers["x-should-retry"] = "false"
    return JSONResponse(error.body(), error.status, headers)


def of_outage(error: SQLAlchemyError) -> TailorbirdError:
    """What to say of one of `OUTAGES`."""
    cause = getattr(error, "orig", None)
    full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    if full or getattr(cause, "errno", None) == errno.ENOSPC:
        return NoSpace("The disk is full; nothing was saved. Free some space and send it again.")
    log.error("the database refused", exc_info=error)
    return DatabaseUnavailable(
        "The database cannot be reached now; nothing was saved. Try again in a moment."
    )


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TailorbirdError)
    return answer(error)


async def _not_understood(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's own shape would reach users of the SDK as a bare status; OpenAI's names the field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    if first["type"] == "json_invalid":
        return answer(BadInput("The body is not valid JSON.", code="invalid_json"))
    if first["loc"] == ("body",) and isinstance(first.get("input"), bytes):
        told = "The body is not taken as JSON. Send it with the header 'content-type: application/json'."
        return answer(BadInput(told, code="invalid_json"))
    name = ".".join(path) or None
    said = first["msg"].removeprefix("Value error, ")
    missing = first["type"] == "missing"
    message = f"Missing required field '{name}'." if missing and name else f"{name or 'Body'}: {said}."
    return answer(
        BadInput(message, param=name, code="missing_required_parameter" if missing else "invalid_value")
    )


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"
    if error.status_code == 404 or request.url.path in ABSENT:
        message = f"Unknown address: {asked}. Of OpenAI's API there is here: {', '.join(_served(request))}."
        return answer(NotFound(f"{message} All addresses are described at /docs.", code="unknown_url"))
    if error.status_code == 405:
        takes = ", ".join(_methods(request))
        told = NotTaken(f"{asked} is not served here. This address takes {takes}.")
        return JSONResponse(told.body(), told.status, {"allow": takes})
    if error.status_code == 400 and "json" in request.headers.get("content-type", "").lower():
        return answer(BadInput("The body is not JSON in UTF-8.", code="invalid_json"))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = {"error": {"message": str(error.detail), "type": kind, "param": None, "code": None}}
    return JSONResponse(body, error.status_code, error.headers)


def _served(request: Request) -> list[str]:
    """What there is of OpenAI's API, as the routes themselves say."""
    paths = {getattr(route, "path", "") for route in request.app.routes}
    return sorted(path for path in paths if path.startswith("/v1/") and "{" not in path)


def _methods(request: Request) -> list[str]:
    """What this address takes; Starlette names the methods of one route only."""
    fitting = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})


async def _database_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OUTAGES)
    return answer(of_outage(error))


async def _broke(request: Request, _: Exception) -> JSONResponse:
    """A mistake of ours, which the server logs. It is answered outside of all else, so it brings its id itself."""
    told = answer(TailorbirdError("The service failed at this request; its log says why. Send it again."))
    told.headers["x-request-id"] = getattr(request.state, "request_id", "")
    return told

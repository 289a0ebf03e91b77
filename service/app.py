"""The gateway: its parts, its routers, and how every refusal looks.

Owns the life of the process's parts and OpenAI's error body. Knows no rule of the domain.
"""

import asyncio
import errno
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import (
    assistants,
    chat,
    conversations,
    datasets,
    evaluations,
    feedback,
    files,
    health,
    jobs,
    keys,
    models,
    releases,
    users,
)  # fmt: skip
from service.api.deps import House
from service.db.session import Database
from service.domain import completions
from service.domain.keys import Hasher
from service.domain.releases import list_adapters
from service.engine import server
from service.engine.client import Engine, Engines
from service.engine.reconciler import Reconciler
from service.errors import BadInput, NoSpace, NotFound, TailorbirdError
from service.logs import log
from service.settings import Settings
from service.storage.local import Store

ROUTERS = (
    chat, models, files, jobs, assistants, conversations, feedback, datasets, releases, evaluations, users, keys,
    health,
)  # fmt: skip

QUIET = {"/healthz", "/readyz"}
"""Asked every second by whoever watches: not worth a line."""


def create_app(settings: Settings, engine_urls: list[str]) -> FastAPI:
    """The gateway over the engines at `engine_urls`. Nothing is opened before the application starts."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        house = _open_house(settings, engine_urls)
        app.state.house = house
        async with house.database.writing() as session:
            await completions.end_abandoned(session)
        reconciling = asyncio.create_task(house.reconciler.run())
        try:
            yield
        finally:
            reconciling.cancel()
            await house.engines.close()
            await house.database.close()

    app = FastAPI(
        title="Tailorbird", version="0.1.0", lifespan=life, docs_url="/docs", redoc_url=None,
        description="OpenAI's API under `/v1`, the loop of feedback, training and releases under `/api`.",
    )  # fmt: skip
    for module in ROUTERS:
        app.include_router(module.router)
    app.add_middleware(RequestLog)
    app.add_exception_handler(TailorbirdError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(OperationalError, _database_refused)
    return app


def _open_house(settings: Settings, engine_urls: list[str]) -> House:
    store = Store(settings.home)
    store.prepare()
    database = Database(settings.database)
    engines = Engines([Engine(url, stream_timeout=settings.answer_timeout) for url in engine_urls])

    async def desired() -> dict[str, str]:
        async with database.reading() as session:
            return {a.digest: str(store.adapter(a.digest)) for a in await list_adapters(session)}

    reconciler = Reconciler(engines, desired)
    return House(
        settings, database, store, Hasher.of_home(settings.home), engines, reconciler,
        width=server.hidden_size(Path(settings.base_folder)),
    )  # fmt: skip


class RequestLog:
    """Gives each request its id, and one log line: who, what, how long. Never what was said."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, began, status = f"req_{secrets.token_hex(12)}", time.perf_counter(), 0
        scope.setdefault("state", {})["request_id"] = request_id

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, mark)
        finally:
            caller = scope["state"].get("caller")
            fields: dict[str, Any] = {
                "request": request_id,
                "method": scope["method"],
                "route": getattr(scope.get("route"), "path", "none"),
                "status": status,
                "ms": round((time.perf_counter() - began) * 1000, 1),
                "key": caller.key_id if caller else None,
            }
            if fields["route"] not in QUIET:
                log.info("request", extra={"fields": fields})


def _answer(error: TailorbirdError) -> JSONResponse:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers = {
            "retry-after": str(int(error.retry_after)),
            "retry-after-ms": str(int(error.retry_after * 1000)),
        }
    if error.status == 409:
        # The SDK sends a 409 again, as if it were a lock; ours is an answer.
        headers["x-should-retry"] = "false"
    return JSONResponse(error.body(), error.status, headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TailorbirdError)
    return _answer(error)


async def _not_understood(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's own shape would reach users of the SDK as a bare status; OpenAI's names the field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    if first["type"] == "json_invalid":
        return _answer(BadInput("The body is not valid JSON.", code="invalid_json"))
    name = ".".join(path) or None
    said = first["msg"].removeprefix("Value error, ")
    missing = first["type"] == "missing"
    message = f"Missing required field '{name}'." if missing and name else f"{name or 'Body'}: {said}."
    return _answer(
        BadInput(message, param=name, code="missing_required_parameter" if missing else "invalid_value")
    )


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(NotFound(f"Unknown address: {request.method} {request.url.path}", code="unknown_url"))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    body = {"error": {"message": str(error.detail), "type": kind, "param": None, "code": None}}
    return JSONResponse(body, error.status_code, error.headers)


async def _database_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OperationalError)
    cause = error.orig
    full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    if full or getattr(cause, "errno", None) == errno.ENOSPC:
        return _answer(NoSpace("The disk is full; nothing was saved. Free some space and send it again."))
    log.error("the database refused", exc_info=error)
    refusal = TailorbirdError(
        "The database cannot be reached now; nothing was saved. Try again.", code="database"
    )
    refusal.retry_after = 2.0
    return _answer(refusal)

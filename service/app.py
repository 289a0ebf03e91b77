"""The gateway: its parts, its routers, and the log line of every request.

Owns the life of the process's parts. Knows no rule of the domain.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import refusals, traces
from service.api import (
    adapters,
    assistants,
    audit,
    batches,
    chat,
    conversations,
    datasets,
    documents,
    duels,
    estimates,
    evaluations,
    feedback,
    files,
    health,
    house_rules,
    imports,
    jobs,
    keys,
    models,
    prompts,
    releases,
    responses,
    reviews,
    sheets,
    splits,
    stored,
    uploads,
    users,
    webhooks,
)  # fmt: skip
from service.api.deps import House, must_be_sound
from service.batches import Batches
from service.db.session import Database
from service.domain import adapters as brought
from service.domain import completions, limits
from service.domain import duels as duel_records
from service.domain.hyperparameters import Bounds
from service.domain.identity import now
from service.domain.keys import Hasher
from service.domain.releases import deleted_adapters, list_adapters
from service.door import Door
from service.engine import server
from service.engine.client import Engine
from service.engine.engines import Engines
from service.engine.reconciler import Reconciler, must_be_there
from service.imports import Imports
from service.logs import log
from service.metrics import REQUESTS
from service.settings import Settings
from service.storage.adapters import must_fit
from service.storage.local import Store
from service.upkeep import keep_sorted, keep_tidy
from service.webhooks import Webhooks

ROUTERS = (
    chat, responses, prompts, stored, models, files, uploads, batches, jobs, estimates, assistants, conversations,
    feedback, duels, reviews, datasets, imports, documents, sheets, splits, adapters, releases, evaluations, users,
    keys, webhooks, audit, house_rules, health,
)  # fmt: skip

GRACE = 60
"""Seconds from a model's deletion until the engine forgets it: requests that were let in before have reached it."""
QUIET = {"/healthz", "/readyz"}
"""Asked every second by whoever watches: not worth a line."""
NOWHERE = traces.Traces()


def create_app(settings: Settings, engine_urls: list[str]) -> FastAPI:
    """The gateway over the engines at `engine_urls`. Nothing is opened before the application starts."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        house = _open_house(settings, engine_urls)
        app.state.house, app.state.traces = house, traces.start()
        async with house.database.writing() as session:
            await completions.end_abandoned(session)
            await limits.end_abandoned(session)
            await duel_records.end_abandoned(session)
        aside = [
            asyncio.create_task(work)
            for work in (
                house.reconciler.run(),
                Batches(house, app).run(),
                Imports(house).run(),
                Webhooks(house).run(),
                keep_tidy(house),
                keep_sorted(house),
            )
        ]
        try:
            yield
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)
            await house.engines.close()
            await house.records.close()
            await house.database.close()
            await app.state.traces.close()

    app = FastAPI(
        title="Tailorbird", version="0.1.0", lifespan=life, docs_url="/docs", redoc_url=None,
        description="OpenAI's API under `/v1`, the loop of feedback, training and releases under `/api`.",
        responses=refusals.DESCRIBED, dependencies=[Depends(must_be_sound)],
    )  # fmt: skip
    app.state.traces = NOWHERE
    for module in ROUTERS:
        app.include_router(module.router)
    app.add_middleware(Door)
    app.add_middleware(RequestLog)
    refusals.install(app)
    return app


def _open_house(settings: Settings, engine_urls: list[str]) -> House:
    store = Store(settings.home)
    store.prepare()
    database = Database(settings.database)
    # One adapter less than the engine takes: the worker proves a new one there meanwhile.
    places = max(1, settings.max_loras - 1)
    engines = Engines(
        Engine(url, stream_timeout=settings.answer_timeout, base=settings.model_name, places=places)
        for url in engine_urls
    )

    async def desired() -> dict[str, str]:
        async with database.reading() as session:
            return {a.digest: str(store.adapter(a.digest)) for a in await list_adapters(session)}

    async def gone() -> set[str]:
        async with database.reading() as session:
            return await deleted_adapters(session, before=now() - GRACE)

    servable = brought.servable(settings)

    def check(files: str) -> None:
        must_be_there(files)
        must_fit(Path(files), servable)

    reconciler = Reconciler(engines, desired, gone, check=check, base=settings.model_name)
    return House(
        settings, database, store, Hasher.of_home(settings.home), engines, reconciler, _bounds(settings)
    )


def _bounds(settings: Settings) -> Bounds:
    base = Path(settings.base_folder)
    here = (base / "config.json").is_file()
    context = (server.context_length(base) if here else None) or settings.max_model_len
    return Bounds(
        max_rank=settings.max_lora_rank, longest=min(settings.max_model_len, context) - 1, usual=settings.max_row,
        width=server.hidden_size(base) if here else None, processes=settings.training_processes,
    )  # fmt: skip


class RequestLog:
    """Gives each request its id, and one log line: who, what, how long. Never what was said."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, began, status = f"req_{secrets.token_hex(12)}", time.perf_counter(), 500
        to = NOWHERE if scope["path"] in QUIET else scope["app"].state.traces
        trace = to.begin(request_id, scope["method"], scope["headers"])
        scope.setdefault("state", {}).update(request_id=request_id, trace=trace)

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_told(scope, request_id, began)]
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
            REQUESTS.labels(fields["route"], status).inc()
            trace.end(getattr(scope.get("route"), "path", None), status)
            if fields["route"] not in QUIET:
                log.info("request", extra={"fields": fields})


def _told(scope: Scope, request_id: str, began: float) -> list[tuple[bytes, bytes]]:
    """Headers of every answer: the request's id, what is left of the key's limits, how long we took."""
    headers = {"x-request-id": request_id, **scope["state"].get("answer_headers", {})}
    if scope["path"].startswith("/v1/"):
        headers["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
    return [(name.encode(), value.encode()) for name, value in headers.items()]

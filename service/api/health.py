"""Alive, ready, figures for Prometheus, and the state of the service. The first two answer without a key."""

import asyncio
import shutil
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service import metrics
from service.api.deps import AdministratorDep, House, HouseDep
from service.contract.status import EngineState, EngineStatus, Status
from service.domain import status as states
from service.engine.client import Engine
from service.errors import EngineTimeout, EngineUnavailable, TailorbirdError

router = APIRouter(tags=["health"])
FIGURES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The gateway is alive."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(house: HouseDep) -> dict[str, str]:
    """The service can answer a chat: an engine is up, with every adapter that should be served."""
    if not house.engines.ready:
        raise EngineUnavailable("The engine is starting. It answers in a minute or so.")
    return {"status": "ready"}


@router.get("/metrics", name="metrics", response_class=Response, responses=FIGURES)
async def show_metrics(house: HouseDep, _: AdministratorDep) -> Response:
    """Prometheus figures. They need an administrator's key even on this machine: a proxy here is everybody."""
    return Response(metrics.exposition(await _status(house)), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/status")
async def show_status(house: HouseDep, _: AdministratorDep) -> Status:
    """What an operator asks first: what is served, what is under way, and what is wrong."""
    return await _status(house)


async def _status(house: House) -> Status:
    base = house.settings.model_name
    engines = await asyncio.gather(*(_look(engine, base) for engine in house.engines))
    async with house.database.reading() as session:
        records = await states.records(session)
    found = Status(
        ready=house.engines.ready, base_model=base, chats_under_way=house.under_way, engines=engines,
        problems=dict(house.reconciler.problems), causes=dict(house.reconciler.causes),
        failed_in_a_row=house.failed_in_a_row, disk_free=shutil.disk_usage(house.settings.home).free, **records,
    )  # fmt: skip
    return states.judged(found, str(house.settings.home / "logs"))


async def _look(engine: Engine, base: str) -> EngineStatus:
    """Asked now, as what is known of it may be some seconds old; two seconds at most."""
    state: EngineState = "ready" if engine.ready else "starting"
    try:
        await engine.check()
    except EngineTimeout:
        state = "hung"
    except TailorbirdError:
        state = "gone"
    return EngineStatus(
        url=engine.url, state=state, release=engine.release, adapters=sorted(engine.models - {base}),
        answering=engine.in_flight, waiting=await engine.waiting(),
    )  # fmt: skip

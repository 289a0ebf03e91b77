"""Alive, ready, and figures for Prometheus. The first two answer without a key."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.deps import AdministratorDep, HouseDep
from service.errors import EngineUnavailable

router = APIRouter(tags=["health"])


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


@router.get("/metrics")
async def metrics(_: AdministratorDep) -> Response:
    """Prometheus figures; needs an administrator's key."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/status")
async def status(house: HouseDep, _: AdministratorDep) -> dict[str, Any]:
    """What an operator asks first: is the engine ready, and what could not be loaded."""
    return {
        "ready": house.engines.ready,
        "base_model": house.settings.model_name,
        "chats_under_way": house.under_way,
        "problems": dict(house.reconciler.problems),
    }

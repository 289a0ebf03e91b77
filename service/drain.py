"""How the gateway's process ends: it takes nothing new at once, lets answers under way end, then gives them up aloud.

Owns the server around the application. Knows no route.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.connection import Connection

TELLING = 5
"""Seconds for the last words: the error events of the answers given up, and their records."""


def serve(
    app: FastAPI, give_up: Callable[[], Coroutine[Any, Any, None]], *, host: str, port: int, grace: int
) -> None:
    """Serve until SIGTERM or SIGINT; `give_up` is called when answers still run `grace` seconds later."""
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=grace + TELLING,
        timeout_keep_alive=75, http=Connection, ws="none",
    )  # fmt: skip
    # Uvicorn raises the signal again when it has ended well; an end that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = _Server(config, give_up, grace)
    server.run()
    if not server.started:
        sys.exit(3)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, give_up: Callable[[], Coroutine[Any, Any, None]], grace: int
    ) -> None:
        super().__init__(config)
        self._give_up, self._grace = give_up, grace

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        # What was imported and built stays. To look through all of it again holds every answer up, by 50 ms.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: Any = None) -> None:
        late = asyncio.create_task(self._late())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    async def _late(self) -> None:
        await asyncio.sleep(self._grace)
        await self._give_up()

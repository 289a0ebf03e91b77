"""A small engine of our own on a Unix socket: the wire of vLLM where a test needs a fault vLLM will not show."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

BASE = "base"


class Double:
    """What it was asked and what it should do next; a prompt of one word chooses a fault."""

    def __init__(self, socket: Path) -> None:
        self.url = f"unix:{socket}"
        self.loaded: dict[str, str] = {}
        self.loads = 0
        self.load_fields: set[str] = set()
        self.warmed: list[dict] = []
        self.refuses: set[str] = set()
        self.cut = asyncio.Event()
        self.healthy = True
        self.stuck = False
        """Asked for a whole answer or a token, it never gives one; `steps` is then all that can move."""
        self.steps = 0

    async def health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.0.double"})

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in (BASE, *self.loaded)]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.loads += 1
        self.load_fields = set(body)
        name = body["lora_name"]
        if name in self.refuses:
            return _error(500, "rank 64 is greater than max_lora_rank 16", "InternalServerError")
        if name in self.loaded:
            return _error(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        self.loaded[name] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self.loaded.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        return web.Response(text="unloaded")

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=f'vllm:iteration_tokens_total_count{{engine="0"}} {float(self.steps)}\n')

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.warmed.append(body)
        await asyncio.sleep(60 if self.stuck else 0)
        if body["model"] not in (BASE, *self.loaded):
            return _error(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
        return web.json_response({"choices": [{"index": 0, "finish_reason": "length"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = body["messages"][-1]["content"]
        if not body.get("stream") and fault == ".":
            await asyncio.sleep(60 if self.stuck else 0)
            return web.json_response({"choices": [{"index": 0, "finish_reason": "length"}]})
        if fault == "full":
            return _error(
                503, "The engine is currently busy and cannot accept new requests.", "Service Unavailable"
            )
        if fault == "dead":
            return _error(500, "EngineCore encountered an issue.", "EngineDeadError")
        if fault == "hang":
            await asyncio.sleep(60)
        return await self._stream(request, fault)

    async def _stream(self, request: web.Request, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b'data: {"n": 1}\n\nda')
            await response.write(b'ta: {"n": 2}\n\n')
            if fault == "break":
                request.transport.close()
            elif fault == "error":
                error = {"error": {"message": "EngineGenerateError", "type": "x", "param": None, "code": 500}}
                await response.write(b"data: " + json.dumps(error).encode() + b"\n\n")
            elif fault == "stall":
                await asyncio.sleep(60)
            elif fault == "short":
                return response
            elif fault == "long":
                while True:
                    await response.write(b'data: {"n": 3}\n\n')
                    await asyncio.sleep(0.01)
            else:
                await response.write(b"data: [DONE]\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.cut.set()
            raise
        return response


@asynccontextmanager
async def double_engine(folder: Path) -> AsyncIterator[Double]:
    """Serve a double at a socket in `folder` for as long as the block lasts."""
    double = Double(folder / "engine.sock")
    app = web.Application()
    app.router.add_get("/health", double.health)
    app.router.add_get("/version", double.version)
    app.router.add_get("/v1/models", double.models)
    app.router.add_get("/metrics", double.metrics)
    app.router.add_post("/v1/load_lora_adapter", double.load)
    app.router.add_post("/v1/unload_lora_adapter", double.unload)
    app.router.add_post("/v1/chat/completions", double.chat)
    app.router.add_post("/v1/completions", double.complete)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "engine.sock")).start()
    try:
        yield double
    finally:
        await runner.cleanup()


def _error(status: int, message: str, kind: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)

"""A double of the engine for the light tests: it speaks vLLM's routes and answers by rule, at once.

It serves what it was told to load, streams word by word, and breaks off when the prompt says so. The
real engine stands behind every promise in the heavy tests.
"""

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

BASE = "smollm2-135m-instruct"


def create_fake_engine() -> FastAPI:
    app = FastAPI()
    app.state.loaded = {}
    app.state.bodies = []

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": "0.0.fake"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name} for name in (BASE, *app.state.loaded)]}

    @app.post("/v1/load_lora_adapter")
    async def load(body: dict[str, Any]) -> Response:
        app.state.loaded[body["lora_name"]] = body["lora_path"]
        return PlainTextResponse("loaded")

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any], request: Request) -> Response:
        app.state.bodies.append(body)
        question = body["messages"][-1]["content"]
        if body["model"] not in (BASE, *app.state.loaded):
            error = {
                "message": "The model does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
            return JSONResponse({"error": error}, 404)
        words = f"{body['model'][:8]} heard {question}".split(" ")
        if body.get("stream"):
            return StreamingResponse(_stream(body, words, question), media_type="text/event-stream")
        end = "abort" if "BREAK" in question else "stop"
        choices = [
            {"index": i, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": end}
            for i in range(body.get("n") or 1)
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
        return JSONResponse(
            {"id": "x", "object": "chat.completion", "created": 1, "choices": choices, "usage": usage}
        )

    return app


async def _stream(body: dict[str, Any], words: list[str], question: str):
    if "LATE" in question:
        await asyncio.sleep(1)
    for number, word in enumerate(words):
        if "SLOW" in question:
            await asyncio.sleep(0.05)
        delta = {"content": word if number == 0 else " " + word}
        yield _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        if "BREAK" in question and number == 2:
            return
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
    yield _event({"choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'created': 1, **value})}\n\n"

"""An upstream that answers at once, or takes its time: `python -m tests.bench.instant PORT [WORDS SECONDS]`.

It speaks as much of OpenAI's wire as two gateways need to take it for a model, and computes nothing, so
that what a gateway adds is all that is left. Plain ASGI, every answer made beforehand.
"""

import asyncio
import json
import sys
from typing import Any

import uvicorn

from service.settings import EMBEDDED

WORDS = 16
"""Tokens of an answer, unless it is told."""


def create_instant(words: int = WORDS, seconds: float = 0.0) -> Any:
    """The ASGI application. An answer of all its words takes `seconds`, one of fewer a part of that."""
    opening = _chunk({"role": "assistant", "content": ""})
    said = [_chunk({"content": f" word{number}"}) for number in range(words)]
    usage = {"prompt_tokens": 9, "completion_tokens": words, "total_tokens": 9 + words}
    closing = _chunk({}, "stop") + _event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    message = {"role": "assistant", "content": " ".join(f"word{number}" for number in range(words))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = _json({"id": "x", "object": "chat.completion", "created": 1, "model": EMBEDDED,
                   "choices": [choice], "usage": usage})  # fmt: skip
    fixed = {
        "/health": b"",
        "/version": _json({"version": "0.0.instant"}),
        "/v1/models": _json({"object": "list", "data": [{"id": EMBEDDED, "object": "model"}]}),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        wanted = json.loads(body) if scope["path"] == "/v1/chat/completions" else {}
        streams = wanted.get("stream")
        kind = b"text/event-stream" if streams else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if streams:
            began = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": opening, "more_body": True})
            for number, chunk in enumerate(said[: wanted.get("max_tokens")], 1):
                if seconds:
                    due = began + number * seconds / words
                    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": closing})
        else:
            await send({"type": "http.response.body", "body": fixed.get(scope["path"], whole)})

    return app


def _chunk(delta: dict[str, Any], end: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}]})


def _event(value: dict[str, Any]) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": EMBEDDED}
    return b"data: " + _json(head | value) + b"\n\n"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


if __name__ == "__main__":
    port, *length = sys.argv[1:]
    words, seconds = length or (WORDS, 0.0)
    app = create_instant(int(words), float(seconds))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, lifespan="off")

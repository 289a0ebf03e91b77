"""An upstream that answers at once: `python -m tests.bench.instant PORT`.

It speaks as much of OpenAI's wire as two gateways need to take it for a model, and computes nothing, so
that what a gateway adds is all that is left. Plain ASGI, every answer made beforehand.
"""

import json
import sys
from typing import Any

import uvicorn

from service.settings import EMBEDDED

WORDS = 16
"""Tokens of an answer."""


def create_instant() -> Any:
    """The ASGI application."""
    chunks = [_chunk({"role": "assistant", "content": ""})]
    chunks += [_chunk({"content": f" word{number}"}) for number in range(WORDS)]
    usage = {"prompt_tokens": 9, "completion_tokens": WORDS, "total_tokens": 9 + WORDS}
    chunks += [_chunk({}, "stop"), _event({"choices": [], "usage": usage}), b"data: [DONE]\n\n"]
    message = {"role": "assistant", "content": " ".join(f"word{number}" for number in range(WORDS))}
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
        streams = scope["path"] == "/v1/chat/completions" and json.loads(body).get("stream")
        kind = b"text/event-stream" if streams else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if streams:
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
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
    uvicorn.run(create_instant(), host="127.0.0.1", port=int(sys.argv[1]), log_config=None, lifespan="off")

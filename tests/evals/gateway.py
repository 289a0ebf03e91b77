"""A small OpenAI-compatible gateway and judge over real HTTP, answering from a table.

Stands in for the gateway and for a judge model, which are too heavy here; the SDK, the headers, the
sockets and the retries are real. A question that begins with `flaky` fails once with a 500 for each
model; one that begins with `broken` always does for the candidate; `slow` never ends in time.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

KEY = "sk-evaluation"
ADAPTERS = {"desk@2": "sha256-candidate", "desk@1": "sha256-live", "base-model": "base"}

Table = dict[str, dict[str, str]]
"""Question to model to answer."""


class Asked:
    """What the servers were sent, for the tests to look at."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.judged: list[dict[str, Any]] = []
        self.tries: Counter[tuple[str, str]] = Counter()


def gateway(
    table: Table, asked: Asked, adapters: dict[str, str], changes: dict[str, tuple[str, str]] | None = None
) -> FastAPI:
    """`changes` names models whose first answer comes from one adapter and the rest from another."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> JSONResponse:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        body = await request.json()
        asked.requests.append(body)
        model, question = body["model"], body["messages"][-1]["content"]
        asked.tries[model, question] += 1
        if model not in adapters:
            return JSONResponse({"error": {"message": f"no model {model}"}}, 404)
        fails = question.startswith("flaky") and asked.tries[model, question] == 1
        if fails or (question.startswith("broken") and model == "desk@2"):
            return JSONResponse({"error": {"message": "the engine stumbled"}}, 500)
        if question.startswith("slow"):
            await asyncio.sleep(30)
        release = {"x-tailorbird-release": model} if "@" in model else {}
        adapter = adapters[model]
        if changes and model in changes:
            adapter = changes[model][sum(body["model"] == model for body in asked.requests) > 1]
        headers = {"x-tailorbird-adapter": adapter, **release}
        return JSONResponse(completion(model, table[question][model]), headers=headers)

    return app


def judge(asked: Asked, verdict_of: dict[str, str]) -> FastAPI:
    """A judge: answers ragas' three kinds of request with the JSON that ragas asks for.

    The verdict is looked up by a word of the judged answer, `wrong` where none is found; every claim
    is supported when the answer is right. A judged answer with `garble` gets no JSON at all.
    """
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> JSONResponse:
        body = await request.json()
        asked.judged.append(body)
        text = "\n".join(str(message["content"]) for message in body["messages"])
        if "garble" in text:
            return JSONResponse(completion("judge", "I would rather not say."))
        word = next((word for word in verdict_of if word in text), None)
        value = verdict_of[word] if word else "wrong"
        if "answer_to_judge" in text:
            reply: dict[str, Any] = {"reason": "as the table says", "value": value}
        elif "verdict" in text:
            reply = {
                "statements": [{"statement": "a claim", "reason": "r", "verdict": int(value == "right")}]
            }
        else:
            reply = {"claims": [f"a claim {word}" if word else "a claim"]}
        return JSONResponse(completion("judge", json.dumps(reply)))

    return app


def completion(model: str, text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve `app` on a free port of this machine; yields its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)

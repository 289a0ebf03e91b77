"""A double of the engine for the light tests: it speaks vLLM's routes and answers by rule, at once.

It serves what it was told to load, streams word by word, and breaks off when the prompt says so: BREAK ends the stream
without an end, ABORT with vLLM's own (`"abort"`, then `[DONE]` as if all were well, vllm-project/vllm#57082).
HANG says nothing for seconds, STALL nothing more after its first words; GOES ON sends more of a call that has ended.
The real engine stands behind every promise in the heavy tests.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

BASE = "smollm2-135m-instruct"
NOT_OPENAIS = {"prompt_logprobs": None, "kv_transfer_params": None, "metrics": None, "service_tier": None}
"""Fields of vLLM's answers that must not reach a caller."""


def create_fake_engine() -> FastAPI:
    app = FastAPI()
    app.state.loaded = {}
    app.state.bodies = []
    app.state.headers = []
    app.state.waiting = 0
    app.state.tokenize = None  # (messages) -> token ids, where a prompt is to have some
    app.state.known = {}  # {question: its answer}, where a screen must look as with a model that knows its company

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": "0.0.fake"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(
            "# TYPE vllm:num_requests_waiting gauge\n"
            f'vllm:num_requests_waiting{{engine="0",model_name="{BASE}"}} {float(app.state.waiting)}\n'
        )

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name} for name in (BASE, *app.state.loaded)]}

    @app.post("/v1/load_lora_adapter")
    async def load(body: dict[str, Any]) -> Response:
        app.state.loaded[body["lora_name"]] = body["lora_path"]
        return PlainTextResponse("loaded")

    @app.post("/v1/unload_lora_adapter")
    async def unload(body: dict[str, Any]) -> Response:
        if app.state.loaded.pop(body["lora_name"], None) is None:
            return JSONResponse(_error("The adapter is not loaded.", None), 404)
        return PlainTextResponse("unloaded")

    @app.post("/v1/chat/completions")
    async def chat(body: dict[str, Any], request: Request) -> Response:
        return await _answer(app, body, request, str(body["messages"][-1]["content"]))

    @app.post("/v1/completions")
    async def go_on(body: dict[str, Any], request: Request) -> Response:
        return await _answer(app, body, request, str(body["prompt"]))

    app.post("/tokenize")(_tokenize)
    return app


async def _tokenize(body: dict[str, Any], request: Request) -> Response:
    if request.app.state.tokenize is None:
        return JSONResponse(_error("Not Found", None), 404)
    return JSONResponse({"tokens": request.app.state.tokenize(body["messages"])})


async def _answer(app: FastAPI, body: dict[str, Any], request: Request, question: str) -> Response:
    if "prompt_logprobs" not in body:  # a gateway warms its engine up: no request of anybody's
        app.state.bodies.append(body)
        app.state.headers.append(request.headers)
    if body["model"] not in (BASE, *app.state.loaded):
        return JSONResponse(_error("The model does not exist.", "model"), 404)
    if "TOO LONG" in question:
        return JSONResponse(_error("This model's maximum context length is 9 tokens.", "messages", 400), 400)
    words = app.state.known.get(question, f"{body['model'][:8]} heard {question}").split(" ")
    if "VARY" in question:
        words.append(f"for the {len(app.state.bodies)}th time")
    if body.get("stream"):
        return StreamingResponse(_stream(body, words, question), media_type="text/event-stream")
    if "LATE" in question or "HANG" in question:
        await asyncio.sleep(1 if "LATE" in question else 10)
    choices = [_choice(body, number, words, question) for number in range(_count(body))]
    kind = "chat.completion" if "messages" in body else "text_completion"
    found = {"id": "x", "object": kind, "created": 1, "choices": choices, "usage": _usage(words)}
    return JSONResponse(found | NOT_OPENAIS)


def _choice(body: dict[str, Any], number: int, words: list[str], question: str) -> dict[str, Any]:
    end = "abort" if "BREAK" in question or "ABORT" in question else "length" if _limit(body) == 1 else "stop"
    choice = {"index": number, "finish_reason": end, "stop_reason": None, "logprobs": None}
    if body.get("logprobs") is not None and body.get("logprobs") is not False:
        choice["logprobs"] = _logprobs(body, words)
    if "prompt" in body:
        return choice | {"text": " ".join(words)}
    message = {"role": "assistant", "content": " ".join(words), "refusal": None, "reasoning": None}
    calls = _calls(body)
    if calls:
        message |= {"content": "", "tool_calls": calls}
        choice["finish_reason"] = "tool_calls"
    elif body.get("response_format", {}).get("type") in ("json_object", "json_schema"):
        message["content"] = json.dumps({"heard": question})
    return choice | {"message": message}


async def _stream(body: dict[str, Any], words: list[str], question: str):
    slow, breaks = "SLOW" in question, "BREAK" in question
    if "LATE" in question or "HANG" in question:
        await asyncio.sleep(1 if "LATE" in question else 10)
    for number, choice in enumerate(_choice(body, n, words, question) for n in range(_count(body))):
        for sent, part in enumerate(_parts(choice)):
            if slow:
                await asyncio.sleep(0.05)
            so_far = {"usage": _usage(words[:sent])} if _counts_each(body) else {}
            yield _event(body, {"choices": [{"index": number, "finish_reason": None, **part}], **so_far})
            if breaks and sent == 2:
                return
            if "STALL" in question and sent == 2:
                await asyncio.sleep(10)
        if "GOES ON" in question:
            for delta in ({"content": "."}, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}):
                yield _event(body, {"choices": [{"index": number, "finish_reason": None, "delta": delta}]})
        end = {"index": number, "finish_reason": choice["finish_reason"]}
        yield _event(body, {"choices": [end | ({"text": ""} if "prompt" in body else {"delta": {}})]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(body, {"choices": [], "usage": _usage(words)})
    yield "data: [DONE]\n\n"


def _counts_each(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("continuous_usage_stats"))


def _parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The choice cut as vLLM cuts it: word by word, and a call's arguments in two."""
    if "message" not in choice:
        for number, word in enumerate(choice["text"].split(" ")):
            yield {"text": word if number == 0 else " " + word} | _one_logprob(choice, number)
        return
    yield {"delta": {"role": "assistant", "content": ""}}
    for index, call in enumerate(choice["message"].get("tool_calls", ())):
        function = call["function"]
        half = len(function["arguments"]) // 2
        opened = {"name": function["name"], "arguments": function["arguments"][:half]}
        head = {"index": index, "id": call["id"], "type": "function", "function": opened}
        yield {"delta": {"tool_calls": [head]}}
        yield {
            "delta": {
                "tool_calls": [{"index": index, "function": {"arguments": function["arguments"][half:]}}]
            }
        }
    for number, word in enumerate((choice["message"]["content"] or "").split(" ")):
        if word:
            text = word if number == 0 else " " + word
            yield {"delta": {"content": text}} | _one_logprob(choice, number)


def _calls(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every tool once when the caller requires it, the named one when it names one; `auto` answers in words."""
    wanted = body.get("tool_choice", "auto")
    if wanted in ("auto", "none") or "tools" not in body:
        return []
    names = [tool["function"]["name"] for tool in body["tools"]]
    chosen = names if wanted == "required" else [wanted["function"]["name"]]
    if body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    arguments = json.dumps({"city": "Riga"})
    return [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, name in enumerate(chosen)
    ]


def _logprobs(body: dict[str, Any], words: list[str]) -> dict[str, Any]:
    if "prompt" in body:
        return {
            "tokens": words, "token_logprobs": [-0.5] * len(words), "text_offset": [*range(len(words))],
            "top_logprobs": [{word: -0.5} for word in words],
        }  # fmt: skip
    top = body.get("top_logprobs") or 0
    one = {"token": "", "logprob": -0.5, "bytes": None}
    return {
        "content": [{**one, "token": word, "top_logprobs": [one | {"token": word}] * top} for word in words]
    }


def _one_logprob(choice: dict[str, Any], number: int) -> dict[str, Any]:
    """The log-probability of the `number`-th word, as a chunk carries it."""
    if not choice["logprobs"]:
        return {}
    return {"logprobs": {name: values[number : number + 1] for name, values in choice["logprobs"].items()}}


def _limit(body: dict[str, Any]) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _count(body: dict[str, Any]) -> int:
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return (len(prompt) if isinstance(prompt, list) and several else 1) * (body.get("n") or 1)


def _usage(words: list[str]) -> dict[str, int]:
    return {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}


def _error(message: str, param: str | None, code: int = 404) -> dict[str, Any]:
    return {"error": {"message": message, "type": "NotFoundError", "param": param, "code": code}}


def _event(body: dict[str, Any], value: dict[str, Any]) -> str:
    kind = "chat.completion.chunk" if "messages" in body else "text_completion"
    return f"data: {json.dumps({'id': 'x', 'object': kind, 'created': 1, **value})}\n\n"

"""`/v1/chat/completions`: decide who answers, record, relay, record the end.

The route is fixed before the first token, so an answer comes wholly from one release. No transaction
is open while the engine is at work. The end is committed before the last bytes are sent.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client import Counter

from service.api.deps import CallerDep, House, HouseDep
from service.contract.chat import REFUSED, ChatRequest
from service.domain import chat, completions
from service.domain.chat import Route
from service.domain.completions import Ending
from service.domain.keys import Caller
from service.engine.client import Engine
from service.errors import BadInput, EngineError, TailorbirdError, TooMany
from service.logs import log

Awaited = TypeVar("Awaited")
router = APIRouter(tags=["chat"])
ENGINES_OWN = {
    "stop_reason", "token_ids", "routed_experts", "prompt_logprobs", "prompt_token_ids", "prompt_text",
    "kv_transfer_params", "ec_transfer_params", "metrics",
}  # fmt: skip
"""Fields of vLLM's answers that OpenAI's wire does not have."""
ANSWERS = Counter("tailorbird_completions_total", "Chat completions by how they ended", ["status"])


@dataclass
class Asked:
    """One chat request under way."""

    house: House
    request: ChatRequest
    route: Route
    engine: Engine
    body: dict[str, Any]
    completion_id: str
    recorded: bool
    """Whether its end is still to be written."""
    headers: dict[str, str]


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(
    wanted: ChatRequest, request: Request, house: HouseDep, caller: CallerDep
) -> Response:
    """OpenAI's chat completion, streamed or whole, by an assistant, a tuned model or the base model."""
    refused = REFUSED & (wanted.model_extra or {}).keys()
    if refused:
        name = sorted(refused)[0]
        raise BadInput(
            f"'{name}' is not accepted here. Leave it out.", param=name, code="unsupported_parameter"
        )
    if house.under_way >= house.settings.max_waiting:
        raise TooMany(f"{house.under_way} answers are being written already. Try again in a moment.")
    house.under_way += 1
    handed_on = False
    try:
        asked = await _prepare(wanted, request, house, caller)
        if wanted.stream:
            handed_on = True
            return await _streamed(asked, request)
        return await _whole(asked, request)
    finally:
        if not handed_on:
            house.under_way -= 1


async def _prepare(wanted: ChatRequest, request: Request, house: House, caller: Caller) -> Asked:
    """Decide who answers, and write the completion as running."""
    async with house.database.reading() as session:
        route = await chat.resolve(session, wanted.model, base_name=house.settings.model_name)
    engine = await _engine_for(house, route)
    request_id = secrets.token_hex(12)
    body = chat.body_for_engine(route, wanted, request_id=request_id, salt=house.hasher.salt(caller.user_id))
    recorded = house.settings.record and wanted.store is not False
    completion_id = f"chatcmpl-{request_id}"
    if recorded:
        metadata = wanted.metadata or {}
        async with house.database.writing() as session:
            await completions.begin(
                session, caller, route, body, completion_id=completion_id, request_id=request.state.request_id,
                engine=engine.release, base_model=house.settings.model_name,
                conversation_id=metadata.get("conversation"), channel="chat" if caller.kind == "session" else "api",
                question=wanted.messages[-1].text(),
            )  # fmt: skip
    headers = {"x-tailorbird-release": route.release, "x-tailorbird-adapter": route.adapter}
    return Asked(house, wanted, route, engine, body, completion_id, recorded, headers)


async def _engine_for(house: House, route: Route) -> Engine:
    """A ready engine that has the adapter; one that lacks it (published a moment ago) is given it now."""
    waits = route.adapter != chat.BASE and not any(route.adapter in engine.models for engine in house.engines)
    if waits and house.engines.ready:
        await house.reconciler.ensure(route.adapter, str(house.store.adapter(route.adapter)))
    return house.engines.pick(route.engine_model)


async def _whole(asked: Asked, request: Request) -> Response:
    """An answer in one piece; a caller who goes away frees the engine."""
    ending = Ending(status="failed")
    try:
        answer = await _unless_gone(request, asked.engine.chat(asked.body))
        if answer is None:
            ending.status = "interrupted"
            return Response(status_code=499)
        for choice in answer["choices"]:
            ending.texts[choice["index"]] = choice["message"].get("content") or ""
            ending.finish_reasons[choice["index"]] = choice.get("finish_reason")
        ending.usage = answer.get("usage")
        answer = _as_ours(answer, asked)
        if not ending.ended_well(len(answer["choices"])):
            raise EngineError("The engine broke off the answer. Try again.")
        ending.status, ending.response = "complete", answer
    except asyncio.CancelledError:
        ending.status = "interrupted"
        raise
    finally:
        ANSWERS.labels(ending.status).inc()
        await asyncio.shield(_record_end(asked, ending))
    return Response(orjson.dumps(answer), headers=asked.headers, media_type="application/json")


async def _streamed(asked: Asked, request: Request) -> Response:
    """An answer in events. The first one is awaited here, so that a refusal still has its own status."""
    events = _relay(asked)
    first = await _unless_gone(request, anext(events))
    if first is None:
        await events.aclose()
        return Response(status_code=499)
    return StreamingResponse(
        _with_first(first, events), media_type="text/event-stream", headers=asked.headers
    )


async def _relay(asked: Asked) -> AsyncGenerator[bytes, None]:
    """The engine's events with our id and model name; an error event, never a false end, when it breaks off."""
    ending = Ending()
    keep_usage = bool((asked.request.stream_options or {}).get("include_usage"))
    stream = asked.engine.stream(asked.body)
    first = True
    try:
        async for data in stream:
            if data == b"[DONE]":
                break
            chunk = orjson.loads(data)
            if "error" in chunk:
                raise EngineError(str(chunk["error"].get("message", "The engine failed.")))
            ending.take(chunk)
            if not chunk.get("choices") and not keep_usage:
                continue
            yield _event(_as_ours(chunk, asked))
            first = False
        if not ending.ended_well(asked.request.n or 1):
            raise EngineError("The engine broke off the answer. Try again.")
        ending.status = "complete"
        await asyncio.shield(_record_end(asked, ending))
        yield b"data: [DONE]\n\n"
    except TailorbirdError as error:
        ending.status = "failed"
        if first:
            raise
        log.warning("stream broken off: %s", type(error).__name__)
        await asyncio.shield(_record_end(asked, ending))
        yield _event(error.body())
    finally:
        await asyncio.shield(_finish(asked, ending, stream.aclose))


async def _with_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


async def _finish(asked: Asked, ending: Ending, close: Callable[[], Awaitable[None]]) -> None:
    asked.house.under_way -= 1
    ANSWERS.labels(ending.status).inc()
    await close()
    await _record_end(asked, ending)


async def _record_end(asked: Asked, ending: Ending) -> None:
    if asked.recorded:
        asked.recorded = False
        async with asked.house.database.writing() as session:
            await completions.end(session, asked.completion_id, ending)


async def _unless_gone(request: Request, answer: Awaitable[Awaited]) -> Awaited | None:
    """The answer, or none when the client went away first: the engine's work is then cancelled."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_ours(answer: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """OpenAI's fields only, under our id and the name that was asked for."""
    choices = [
        {k: v for k, v in choice.items() if k not in ENGINES_OWN} for choice in answer.get("choices", ())
    ]
    kept = {key: value for key, value in answer.items() if key not in ENGINES_OWN}
    return kept | {"id": asked.completion_id, "model": asked.request.model, "choices": choices}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"

"""From a request to its answer, whole or streamed, for every route that asks the engine.

`prepare` decides who answers and has the completion written as running; `whole` and `streamed` give the
response, `answer` and `chunks` the same as values for a route with a wire of its own. The answerer is
fixed before the first token, so an answer comes wholly from one release. The question is written down
while the engine reads it, and committed before the first bytes are sent; the end before the last ones. No
transaction waits for the engine. Knows no route's parameters.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from service import metrics
from service.api import limits
from service.api.deps import House
from service.api.reader import Events, Reader, unless_gone
from service.contract.chat import ChatRequest
from service.contract.prompts import PromptRequest
from service.domain import chat, completions, conversations, prompts, sampling
from service.domain.chat import Route
from service.domain.endings import Ending
from service.domain.keys import Caller
from service.domain.limits import Reservation
from service.engine.client import CHAT, TEXT, Engine
from service.errors import EngineError, TailorbirdError, TooMany
from service.logs import log
from service.refusals import OUTAGES, of_outage
from service.traces import Question, Trace

Wanted = ChatRequest | PromptRequest
ENGINES_OWN = {
    "stop_reason", "token_ids", "routed_experts", "prompt_logprobs", "prompt_token_ids", "prompt_text",
    "kv_transfer_params", "ec_transfer_params", "metrics", "service_tier",
}  # fmt: skip
"""Fields of vLLM's answers that OpenAI's wire does not have, a raw prompt's at least (`service_tier`)."""
OFTEN_NULL = {"annotations", "audio", "function_call", "reasoning"}
"""Fields of a message that vLLM names though they are empty."""

BROKEN = "The engine broke off the answer. Try again."
SO_FAR = 2.0
"""Seconds between two notes of what an answer says so far."""
_notes: set[asyncio.Task[None]] = set()
"""Being written: a task that nobody holds may be collected."""

DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
"""What the description of a route says of an answer that comes streamed."""


@dataclass
class Asked:
    """One request under way. Whoever has one sees it to its end: `whole`, `streamed`, `answer` or `chunks`."""

    house: House
    request: Wanted
    route: Route
    engine: Engine
    body: dict[str, Any]
    """As the engine gets it."""
    completion_id: str
    recorded: bool
    headers: dict[str, str]
    trace: Trace
    path: str = CHAT
    """The engine's route."""
    held: Reservation | None = None
    """What is reserved of the key's budget, where it is limited."""
    notes: bool = False
    """A person watches the answer: what it says so far is written down now and then, lest a fall loses it."""
    writing: asyncio.Task[None] | None = None
    """The question is being written down. Nothing of the answer is given away before it is."""
    ended: bool = field(default=False)
    began: float = field(default_factory=time.perf_counter)

    async def written(self) -> None:
        """Raises `NoSpace` or `DatabaseUnavailable` when the question could not be written down."""
        if self.writing is not None:
            try:
                await asyncio.shield(self.writing)
            except OUTAGES as error:
                raise of_outage(error) from None


async def serve(wanted: Wanted, request: Request, house: House, caller: Caller) -> Response:
    """The whole way of one request: prepared, answered as it asks, recorded."""
    asked = await prepare(wanted, request, house, caller)
    return await (streamed if wanted.stream else whole)(asked, request)


async def prepare(
    wanted: Wanted, request: Request, house: House, caller: Caller, *,
    begun: dict[str, Any] | None = None, channel: str | None = None,
) -> Asked:  # fmt: skip
    """Take a place, decide who answers, and begin to write the completion as running. Raises `TooMany`.

    `begun` is kept with it: what a response of `/v1/responses` repeats of its request. `channel` says where it was
    asked, when that is neither the chat nor an application.
    """
    if house.under_way >= house.settings.max_waiting:
        raise TooMany(f"{house.under_way} answers are being written already. Try again in a moment.")
    house.under_way += 1
    try:
        return await _prepared(wanted, request, house, caller, begun, channel)
    except BaseException:
        house.under_way -= 1
        raise


async def _prepared(
    wanted: Wanted, request: Request, house: House, caller: Caller, begun: dict[str, Any] | None,
    channel: str | None,
) -> Asked:  # fmt: skip
    sampling.check(wanted, tools=bool(house.settings.tool_parser))

    async def resolve() -> Route:
        async with house.database.reading() as session:
            return await chat.resolve(session, wanted.model, base_name=house.settings.model_name)

    person = f"{caller.user_id}:{sampling.end_user(wanted)}"
    route = (await house.routes.get(wanted.model, resolve)).of(person)
    request_id, salt = secrets.token_hex(12), house.hasher.salt(caller.user_id)
    if isinstance(wanted, ChatRequest):
        body = chat.body_for_engine(route, wanted, request_id=request_id, salt=salt)
        completion_id, path, question = f"chatcmpl-{request_id}", CHAT, wanted.messages[-1].text()
    else:
        body = prompts.body_for_engine(route, wanted, request_id=request_id, salt=salt)
        completion_id, path, question = f"cmpl-{request_id}", TEXT, ""
    engine = await _engine_for(house, route)
    recorded = house.settings.record and wanted.store is not False
    metadata = wanted.metadata or {}
    limited, held, writing = limits.holding(house, caller), None, None
    touches = metadata.get("conversation") if recorded else None
    if limited or touches is not None:
        # Either may refuse the request, so the engine waits for it.
        async with limits.ledger(house) if limited else house.database.writing(records=True) as session:
            if limited:
                held = await limits.reserve(session, house, request, caller, body, limited)
            if touches is not None:
                await conversations.touch(session, caller, touches, question)
    if recorded:
        writing = asyncio.create_task(
            completions.begin(
                house.records, caller, route, body, completion_id=completion_id, metadata=metadata, begun=begun,
                request_id=request.state.request_id, engine=engine.release, base_model=house.settings.model_name,
                channel=channel or ("chat" if caller.kind == "session" else "api"),
            )
        )  # fmt: skip
    asked_body = chat.with_whole_texts(body)
    if wanted.stream:
        # What a reader who leaves early has used stands in the last chunk, if each has its figures.
        each = {"continuous_usage_stats": True} if held and wanted.choices == 1 else {}
        asked_body = asked_body | {"stream": True, "stream_options": {"include_usage": True} | each}
    headers = {"x-tailorbird-release": route.release, "x-tailorbird-adapter": route.adapter}
    return Asked(
        house, wanted, route, engine, asked_body, completion_id, recorded, headers, request.state.trace,
        path=path, held=held, writing=writing, notes=recorded and caller.kind == "session",
    )  # fmt: skip


async def _engine_for(house: House, route: Route) -> Engine:
    """A ready engine that has the adapter; one that lacks it (published a moment ago) is given it now."""
    if route.adapter != chat.BASE:
        files = str(house.store.adapter(route.adapter))
        house.reconciler.check(files)
        if house.engines.ready and not any(route.adapter in engine.models for engine in house.engines):
            if why := house.reconciler.problems.get(
                route.adapter
            ):  # it is tried again there, and not for each caller
                raise EngineError(why)
            await house.reconciler.ensure(route.adapter, files)
    return house.engines.pick(route.engine_model)


async def whole(asked: Asked, request: Request) -> Response:
    """An answer in one piece; a caller who goes away frees the engine."""
    found = await answer(asked, request)
    if found is None:
        return Response(status_code=499)
    return Response(orjson.dumps(found), headers=asked.headers, media_type="application/json")


async def answer(asked: Asked, request: Request) -> dict[str, Any] | None:
    """The whole answer on OpenAI's wire, or none when the caller went away first. Its end is recorded."""
    ending = Ending(status="failed")
    try:
        found = await unless_gone(request, asked.engine.chat(asked.body, asked.path, _told(asked)))
        if found is None:
            ending.status = "interrupted"
            return None
        await asked.written()
        found = _as_ours(found, asked)
        ending.take(found)
        _complete(asked, ending)
    except TailorbirdError as error:
        _failed(asked, error)
        raise
    except asyncio.CancelledError:
        ending.status = "interrupted"
        raise
    finally:
        await asyncio.shield(_end(asked, ending))
    return found


async def streamed(
    asked: Asked, request: Request, events: AsyncGenerator[bytes, None] | None = None
) -> Response:
    """An answer in events, a chat's or those given. The first one is awaited here, so that a refusal still has its
    own status."""
    events, reader, first = events or relay(asked), Reader(request), None
    try:
        async with reader.there():
            first = await anext(events)
    finally:
        if first is None:
            reader.close()
            await events.aclose()
            await asyncio.shield(_end(asked, Ending()))
    return Response(status_code=499) if first is None else Events(first, events, reader, asked.headers)


async def relay(asked: Asked) -> AsyncGenerator[bytes, None]:
    """The answer as events; an error event, never a false end, when the engine breaks off."""
    first = True
    try:
        async with aclosing(chunks(asked)) as stream:
            async for together in stream:
                yield b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in together)
                first = False
        yield b"data: [DONE]\n\n"
    except TailorbirdError as error:
        if first:
            raise
        log.warning("stream broken off: %s", type(error).__name__)
        yield b"data: " + orjson.dumps(error.body()) + b"\n\n"


async def chunks(asked: Asked) -> AsyncGenerator[list[dict[str, Any]], None]:
    """The answer's chunks on OpenAI's wire, those that came at once together; its end is recorded before the iterator
    ends or raises."""
    ending, noted = Ending(status="failed"), time.monotonic()
    try:
        async with aclosing(asked.engine.stream(asked.body, asked.path, _told(asked))) as stream:
            async for together in stream:
                if not ending.choices:
                    await asked.written()
                    metrics.first_token(asked.began)
                    asked.trace.first_token()
                if ours := [chunk for data in together if (chunk := _taken(data, asked, ending))]:
                    yield ours
                if asked.notes and time.monotonic() - noted > SO_FAR:
                    noted = time.monotonic()
                    _note(asked, ending)
        _complete(asked, ending)
    except TailorbirdError as error:
        _failed(asked, error)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        ending.status = "interrupted"
        raise
    finally:
        await asyncio.shield(_end(asked, ending))


def _note(asked: Asked, ending: Ending) -> None:
    """Have it written what the answer says so far; nobody waits, and the end says it all again."""
    note = asyncio.create_task(completions.note(asked.house.records, asked.completion_id, ending.text))
    _notes.add(note)
    note.add_done_callback(lambda done: (_notes.discard(done), done.cancelled() or done.exception()))


def _taken(data: bytes, asked: Asked, ending: Ending) -> dict[str, Any] | None:
    """One event of the engine's, noted for the record, as the caller gets it; none where there is nothing for them."""
    if data == b"[DONE]":
        return None
    chunk = orjson.loads(data)
    if "error" in chunk:
        raise EngineError(str(chunk["error"].get("message", "The engine failed.")))
    chunk = _as_ours(chunk, asked)
    ending.take(chunk)
    if ending.broken:
        raise EngineError(BROKEN)  # before the caller reads an end that is none of OpenAI's
    usage, wanted = chunk.pop("usage", None), asked.request.wants_usage
    if wanted:
        chunk["usage"] = None if chunk["choices"] else usage
    return chunk if chunk["choices"] or (wanted and usage) else None


def _complete(asked: Asked, ending: Ending) -> None:
    """Raises `EngineError` unless the model itself ended every choice."""
    if not ending.ended_well(asked.request.choices):
        raise EngineError(BROKEN)
    ending.status = "complete"


def _told(asked: Asked) -> Mapping[str, str]:
    """The request's trace hears what is asked now; the headers with which the engine can go on with it."""
    return asked.trace.engine_asked(
        Question(
            operation="chat" if asked.path == CHAT else "text_completion", model=asked.route.requested,
            answerer=asked.route.engine_model, release=asked.route.release, adapter=asked.route.adapter,
            answer=asked.completion_id, streamed="stream" in asked.body,
        )
    )  # fmt: skip


def _failed(asked: Asked, error: TailorbirdError) -> None:
    asked.house.failed_in_a_row += error.status >= 500
    asked.trace.engine_failed(error)


async def _end(asked: Asked, ending: Ending) -> None:
    """Give the place back and write how it ended; again is harmless. Raises `NoSpace` or `DatabaseUnavailable`, also
    in the middle of a stream, which then ends in an error: an answer without its record is none."""
    if asked.ended:
        return
    asked.ended = True
    asked.house.under_way -= 1
    if ending.status == "complete":
        asked.house.failed_in_a_row = 0
    if asked.writing is not None:
        await asyncio.wait({asked.writing})
        asked.recorded = asked.writing.exception() is None
    metrics.answered(ending.status, asked.route.release, ending.usage, asked.began)
    ends = [str(choice.get("finish_reason")) for choice in ending.choices.values()]
    asked.trace.engine_done(ending.status, ending.usage, ends)
    try:
        if asked.held:
            async with asked.house.database.writing(records=True) as session:
                await limits.settle(session, asked.held, ending, streamed="stream" in asked.body)
                if asked.recorded:
                    await completions.end(session, asked.completion_id, ending)
        elif asked.recorded:
            await completions.end(asked.house.records, asked.completion_id, ending)
    except OUTAGES as error:
        raise of_outage(error) from None


def _as_ours(found: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """OpenAI's fields only, under our id and the name that was asked for: the same object, as each word of a stream
    comes by here."""
    _strip(found)
    found["id"], found["model"] = asked.completion_id, asked.request.model
    for choice in found.setdefault("choices", []):
        _strip(choice)
        said = choice.get("delta") or choice.get("message")
        if said:
            for name in OFTEN_NULL & said.keys():
                if said[name] is None:
                    del said[name]
            if said.get("tool_calls") and said.get("content") == "":
                said["content"] = None
    return found


def _strip(found: dict[str, Any]) -> None:
    for name in ENGINES_OWN & found.keys():
        del found[name]

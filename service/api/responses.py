"""`/v1/responses`: the newer wire over the same answers as `/v1/chat/completions`, recorded alike."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.api import relay
from service.api.deps import CallerDep, House, HouseDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.api.relay import Asked
from service.contract.files import Deleted
from service.contract.responses import ResponseCreate
from service.domain import response_objects, responses
from service.domain.keys import Caller
from service.domain.paging import page
from service.domain.response_events import Events
from service.domain.response_requests import NAMES, as_chat, refuse_include, refuse_unserved
from service.errors import BadInput, EngineError, TailorbirdError
from service.logs import log

router = APIRouter(prefix="/v1/responses", tags=["responses"])


@router.post("", response_model=None, responses=relay.DESCRIBED)
async def create_response(
    wanted: ResponseCreate, request: Request, house: HouseDep, caller: CallerDep
) -> Response:
    """OpenAI's response, streamed or whole, by an assistant, a tuned model or the base model."""
    refuse_unserved(wanted)
    try:
        return await _answered(wanted, request, house, caller)
    except BadInput as error:  # of the chat request behind it
        error.param = NAMES.get(error.param or "", error.param)
        raise


@router.get("/{response_id}")
async def retrieve_response(
    response_id: str, request: Request, session: ReadDep, caller: CallerDep, stream: bool = False
) -> dict[str, Any]:
    """A stored response of one's own; the one that is being written is `in_progress`."""
    refuse_include(_include(request))
    if stream:
        raise BadInput(
            "A stored response is not streamed again. Retrieve it without 'stream'.", param="stream"
        )
    return responses.shown(await responses.own_response(session, caller, response_id))


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    request: Request,
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> dict[str, Any]:
    """What a response was an answer to, earlier responses of its chain included; the last item first."""
    refuse_include(_include(request))
    items = responses.input_items(await responses.own_response(session, caller, response_id))
    found, more = page(items if order == "asc" else items[::-1], after, limit)
    return as_list(found, has_more=more)


@router.delete("/{response_id}")
async def delete_response(response_id: str, session: WriteDep, caller: CallerDep) -> Deleted:
    """An answer that got feedback stays in the record; nothing finds it as a response any more."""
    await responses.remove(session, caller, response_id)
    return Deleted(id=response_id, object="response")


async def _answered(wanted: ResponseCreate, request: Request, house: House, caller: Caller) -> Response:
    context: list[dict[str, Any]] = []
    if wanted.previous_response_id is not None:
        async with house.database.reading() as session:
            context = await responses.context_after(session, caller, wanted.previous_response_id)
    echo = response_objects.echo(wanted, recorded=house.settings.record and wanted.store is not False)
    asked = await relay.prepare(as_chat(wanted, context), request, house, caller, begun=echo)
    response = response_objects.begun(asked.completion_id, echo, asked.body)
    if wanted.stream:
        return await relay.streamed(asked, request, _events(asked, response))
    answer = await relay.answer(asked, request)
    if answer is None:
        return Response(status_code=499)
    whole = response_objects.ended(response, answer, response_objects.now())
    return Response(orjson.dumps(whole), headers=asked.headers, media_type="application/json")


async def _events(asked: Asked, response: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """The response as events; `response.failed`, never a false end, when the engine breaks off."""
    events = Events(response)
    first = True
    try:
        async with aclosing(relay.chunks(asked)) as chunks:
            async for together in chunks:
                told = events.begin() if first else []
                first = False
                try:
                    for chunk in together:
                        told += events.take(chunk)
                except EngineError as error:
                    yield _lines(told)
                    # Raised where the record is ended, so that it says what the stream says; it comes back here.
                    await chunks.athrow(error)
                if told:
                    yield _lines(told)
        yield _lines(events.end())
    except TailorbirdError as error:
        if first:
            raise
        log.warning("stream broken off: %s", type(error).__name__)
        yield _lines(events.fail(error.message))


def _lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n" for event in events
    )


def _include(request: Request) -> list[str]:
    """The SDK writes a list as `include[]=a&include[]=b`."""
    return [*request.query_params.getlist("include"), *request.query_params.getlist("include[]")]

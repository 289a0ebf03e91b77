"""`/api/duels`: one question, two answers without names, and a choice between them."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from service.api import relay
from service.api.deps import CallerDep, House, HouseDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.chat import ChatRequest
from service.contract.duels import Duel, DuelCreate, Vote
from service.contract.files import Deleted
from service.domain import duels, idempotency
from service.domain.completions import DUEL
from service.domain.keys import Caller
from service.errors import Conflict, EngineError

router = APIRouter(prefix="/api/duels", tags=["duels"])


@router.post("", status_code=201)
async def create_duel(wanted: DuelCreate, request: Request, house: HouseDep, caller: CallerDep) -> Duel:
    """Draw two answerers and wait for both answers, so that neither is known by its pace."""
    if not house.settings.record:
        raise Conflict("Answers are not recorded here, so none can be chosen. Ask an administrator.")
    async with house.database.writing(records=True) as session:
        row = await duels.begin(session, caller, wanted)
        asked = await duels.requests(session, row)
    completion_ids = None
    try:
        completion_ids = await _answers(asked, request, house, caller)
    finally:
        ended = await asyncio.shield(_end(house, row.id, completion_ids))
    return ended


@router.get("")
async def list_duels(
    session: ReadDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> dict[str, Any]:
    """One's own, newest first."""
    rows = await duels.list_duels(session, caller, limit=limit)
    return as_list([await duels.shown(session, row) for row in rows])


@router.get("/{duel_id}")
async def retrieve_duel(duel_id: str, session: ReadDep, caller: CallerDep) -> Duel:
    return await duels.shown(session, await duels.own_duel(session, caller, duel_id))


@router.post("/{duel_id}/vote")
async def vote(
    duel_id: str,
    given: Vote,
    request: Request,
    session: WriteDep,
    caller: CallerDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Duel:
    """Choose, and be told the names. Once; with an `Idempotency-Key` a repeat gets the same answer."""
    body = duel_id.encode() + await request.body()

    async def decided() -> Duel:
        return await duels.shown(session, await duels.vote(session, caller, duel_id, given))

    return await idempotency.once(session, caller.user_id, idempotency_key, body, decided, Duel)


@router.post("/{duel_id}/reveal")
async def reveal(duel_id: str, session: WriteDep, caller: CallerDep) -> Duel:
    """Be told the names without choosing; after that nothing can be chosen."""
    return await duels.shown(session, await duels.reveal(session, caller, duel_id))


@router.delete("/{duel_id}")
async def delete_duel(duel_id: str, session: WriteDep, caller: CallerDep) -> Deleted:
    """Erase the question and both answers. What was chosen from stays, hidden, for the choice alone."""
    await duels.delete(session, caller, duel_id)
    return Deleted(id=duel_id, object="duel")


async def _answers(asked: list[ChatRequest], request: Request, house: House, caller: Caller) -> list[str]:
    """The ids of both answers once both are complete. Each is seen to its end, whatever becomes of the other."""
    found = await asyncio.gather(
        *(_answer(one, request, house, caller) for one in asked), return_exceptions=True
    )
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [str(one) for one in found]


async def _answer(wanted: ChatRequest, request: Request, house: House, caller: Caller) -> str:
    asked = await relay.prepare(wanted, request, house, caller, channel=DUEL)
    if await relay.answer(asked, request) is None:
        raise EngineError("Who asked went away before both answers were complete.")
    return asked.completion_id


async def _end(house: House, duel_id: str, completion_ids: list[str] | None) -> Duel:
    async with house.database.writing(records=True) as session:
        return await duels.shown(session, await duels.end(session, duel_id, completion_ids))

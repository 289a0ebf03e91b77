"""What a handler may ask for: the service's parts, a transaction, and who calls.

A writing transaction is committed before the response is sent (`scope="function"`), so a 2xx means
saved. Owns no rule: it fetches, and notes behind the answer which key was used.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import httpx
import orjson
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Receive, Scope, Send

from service.contract.audit import Action
from service.db.group_commit import GroupCommit
from service.db.recent import Recent
from service.db.session import Database, is_held
from service.domain import audit, keys, material
from service.domain.chat import Route
from service.domain.hyperparameters import Bounds
from service.domain.identity import now
from service.domain.keys import Caller, Hasher
from service.engine.engines import Engines
from service.engine.reconciler import Reconciler
from service.errors import BadInput
from service.settings import Settings
from service.storage.local import Store

log = logging.getLogger(__name__)
EVERY = 600.0
"""Seconds between two notes of the use of one key."""
NO_BODY = {"GET", "HEAD", "OPTIONS"}
"""Methods whose requests say all in their address: no route reads a body of theirs."""


@dataclass
class House:
    """The parts of a running gateway, made once in its lifespan."""

    settings: Settings
    database: Database
    store: Store
    hasher: Hasher
    engines: Engines
    reconciler: Reconciler
    bounds: Bounds
    """What the base model and its engine set to a training."""
    under_way: int = field(default=0)
    """Chat requests being answered now."""
    failed_in_a_row: int = field(default=0)
    """Answers that failed since the last good one."""

    previews: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Files that people bring are looked into by a process each: so many at once."""
    estimating: set[str] = field(default_factory=set)
    """Who has an estimate under way: a process of some hundred MB each."""

    def __post_init__(self) -> None:
        self.callers: Recent[Caller] = Recent(self.database)
        """By the digest of their key."""
        self.routes: Recent[Route] = Recent(self.database)
        """By the `model` of a request."""
        self.records = GroupCommit(self.database)
        """Writes down what is asked and answered."""
        self.used: dict[str, float] = {}
        """When it was last written down that a key was used, by the key's id."""

    @property
    def tokenizer(self) -> str | None:
        """The base model's `tokenizer.json`, where its checkpoint is on this machine."""
        path = Path(self.settings.base_folder) / "tokenizer.json"
        return str(path) if path.is_file() else None

    async def sort_feedback(self, assistant: str) -> None:
        """Take in what was said of an assistant's answers since the last time: in slices, so that others can write."""
        async with self.database.reading() as session:
            behind = await material.behind(session, self.store, assistant)
        while behind:
            async with self.database.writing(records=True) as session:
                behind = await material.take_in(session, self.store, assistant)

    async def sort_newest(self) -> None:
        """Take in a slice of every assistant's: what was said a moment ago, and not all that waits after an upgrade."""
        async with self.database.reading() as session:
            behind = await material.waiting(session)
        for assistant in behind:
            try:
                async with self.database.writing(records=True) as session:
                    await material.take_in(session, self.store, assistant)
            except Exception as error:
                # Another assistant's can be sorted and reviewed all the same, unless nobody can write at all.
                if isinstance(error, SQLAlchemyError) and is_held(error):
                    raise
                log.error("sorting feedback failed", exc_info=error)


async def house_of(request: Request) -> House:
    # FastAPI runs a dependency that is not async in another thread, and waits for it.
    return request.app.state.house


HouseDep = Annotated[House, Depends(house_of)]


async def retried(request: Request) -> bool:
    """Whether OpenAI's SDK sends this again because no answer came."""
    return request.headers.get("x-stainless-retry-count", "0") not in ("", "0")


RetryDep = Annotated[bool, Depends(retried)]


async def must_be_sound(request: Request) -> None:
    """Raise `BadInput` for JSON that Python reads and nothing behind us takes: half a character, a number beyond
    64 bits, endless nesting, NaN and Infinity. What is no JSON at all is left to the route."""
    if request.method in NO_BODY or "json" not in request.headers.get("content-type", "").lower():
        return
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return
    try:
        orjson.dumps(body)
        # It writes NaN as null, so the bytes themselves are read as strictly.
        orjson.loads((await request.body()).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadInput("The body is not JSON in UTF-8.", code="invalid_json") from None
    except TypeError as error:
        raise BadInput(f"The body holds what cannot be passed on: {error}.", code="invalid_json") from None
    except ValueError as error:
        raise BadInput(
            f"The body holds what is no value of JSON, such as NaN or Infinity: {error}. "
            "Send a number, or leave the field out.",
            code="invalid_json",
        ) from None


async def reading(house: HouseDep) -> AsyncIterator[AsyncSession]:
    async with house.database.reading() as session:
        yield session


async def writing(house: HouseDep) -> AsyncIterator[AsyncSession]:
    async with house.database.writing() as session:
        yield session


ReadDep = Annotated[AsyncSession, Depends(reading, scope="function")]
WriteDep = Annotated[AsyncSession, Depends(writing, scope="function")]

ON_BEHALF_OF = "tailorbird.key"
"""Where the scope of a request that the service makes itself names the key it is made for, by id. What comes
over the network cannot set it: a server fills the scope with names of its own."""

_bearer = HTTPBearer(
    auto_error=False, description="an API key or a session token: `Authorization: Bearer tb-...`"
)


def bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


async def identify(request: Request, house: House) -> Caller:
    """Who calls, looked up once for a request, or a moment before. Raises `NotSignedIn`."""
    known = getattr(request.state, "caller", None)
    if known is not None:
        return known
    on_behalf_of, secret = request.scope.get(ON_BEHALF_OF), bearer(request)

    async def read() -> Caller:
        async with house.database.reading() as session:
            if on_behalf_of is not None:
                return await keys.caller_of_key(session, on_behalf_of)
            return await keys.find_caller(session, house.hasher, secret)

    caller = await house.callers.get(on_behalf_of or house.hasher.digest(secret or ""), read)
    if caller.kind == "api":
        _note_use(house, caller.key_id)
    request.state.caller = caller
    return caller


def _note_use(house: House, key_id: str) -> None:
    """Write down that a key is used, every ten minutes. Nobody waits for it."""
    at = time.monotonic()
    if at < house.used.get(key_id, -EVERY) + EVERY:
        return
    house.used[key_id] = at
    written = asyncio.create_task(house.records.execute(keys.USED, {"key": key_id, "at": now()}))

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            house.used.pop(key_id, None)
            log.warning("that a key was used cannot be written down: %s", type(error).__name__)

    written.add_done_callback(ended)


async def caller_of(request: Request, house: HouseDep, _: Annotated[object, Depends(_bearer)]) -> Caller:
    return await identify(request, house)


async def reviewer_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    caller.must_be("reviewer")
    return caller


async def administrator_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    caller.must_be("administrator")
    return caller


CallerDep = Annotated[Caller, Depends(caller_of)]
ReviewerDep = Annotated[Caller, Depends(reviewer_of)]
AdministratorDep = Annotated[Caller, Depends(administrator_of)]


async def ask_ourselves(app: ASGIApp, key_id: str, path: str, content: bytes) -> httpx.Response:
    """The gateway's own answer to a request in the name of a key: checked, limited and recorded like any other.
    Cancelling it frees the engine."""

    async def on_behalf(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, ON_BEHALF_OF: key_id}, receive, send)

    transport = httpx.ASGITransport(on_behalf, raise_app_exceptions=False)
    headers = {"content-type": "application/json"}
    request = httpx.Request("POST", f"http://gateway{path}", headers=headers, content=content)
    response = await transport.handle_async_request(request)
    await response.aread()
    return response


class Note(Protocol):
    """Writes an act of the caller into the journal, in the transaction of the request."""

    def __call__(self, action: Action, subject: str, **detail: Any) -> Awaitable[None]: ...


async def noting(session: WriteDep, house: HouseDep, caller: CallerDep) -> Note:
    return partial(audit.note, session, house.hasher, caller)


NoteDep = Annotated[Note, Depends(noting)]

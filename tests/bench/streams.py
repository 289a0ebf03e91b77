"""Asking for an answer in a stream, and what a reader notices of it. Knows no story."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import orjson

Found = TypeVar("Found")
_numbers = itertools.count()


@dataclass
class Heard:
    """One streamed answer. Times in seconds."""

    first: float = 0.0
    """Until the first token."""
    took: float = 0.0
    tokens: int = 0
    text: str = ""
    heard_at: list[float] = field(default_factory=list)
    """When each piece of it came, by `time.perf_counter`."""

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """(when it ended, how long it was) of each pause between two pieces."""
        return [(now, now - last) for last, now in itertools.pairwise(self.heard_at)]

    def tokens_within(self, begin: float, end: float) -> float:
        """Tokens that came from `begin` to `end`, as if each piece had the same number of them."""
        within = sum(begin <= moment < end for moment in self.heard_at)
        return self.tokens * within / len(self.heard_at)

    @property
    def pace(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / (self.took - self.first)


@dataclass(frozen=True, eq=False)
class Way:
    """One way to an answer: a server's address, the name to ask for, and the key to show."""

    session: aiohttp.ClientSession
    base: str
    model: str
    headers: dict[str, str] = field(default_factory=dict)

    def of(self, model: str) -> "Way":
        """The same server, another model."""
        return Way(self.session, self.base, model, self.headers)


@asynccontextmanager
async def way(url: str, model: str, key: str | None = None) -> AsyncIterator[Way]:
    """`url` is `unix:/path` or `http://host:port`."""
    socket = url.removeprefix("unix:") if url.startswith("unix:") else None
    # Servers close idle connections after some seconds; one that is reused just then would lose a request.
    pool: dict[str, Any] = {"limit": 0, "keepalive_timeout": 3.0}
    connector = aiohttp.UnixConnector(path=socket, **pool) if socket else aiohttp.TCPConnector(**pool)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Way(session, "http://engine" if socket else url, model, headers)


async def ask(way: Way, question: str, tokens: int) -> Heard:
    """A greedy answer of exactly `tokens` tokens. Raises what `aiohttp` does, and `RuntimeError` for a broken one."""
    body = {
        "model": way.model, "stream": True, "temperature": 0, "max_tokens": tokens, "min_tokens": tokens,
        "messages": [{"role": "user", "content": question}],
    }  # fmt: skip
    heard, began, whole = Heard(tokens=tokens), time.perf_counter(), False
    url = f"{way.base}/v1/chat/completions"
    async with way.session.post(url, json=body, headers=way.headers) as response:
        if response.status != 200:
            raise RuntimeError(f"{url} answered {response.status}: {await response.text()}")
        async for line in response.content:
            said = _said(line)
            if said:
                heard.heard_at.append(time.perf_counter())
                heard.text += said
            whole = whole or line.startswith(b"data: [DONE]")
    if not whole or not heard.heard_at:
        raise RuntimeError(f"{url} broke the answer off.")
    heard.first, heard.took = heard.heard_at[0] - began, time.perf_counter() - began
    return heard


def question() -> str:
    """A question that nobody has asked before, so that no cache knows its answer."""
    return (
        f"{next(_numbers)} {time.time()}: tell me a story of the sea, of a captain and of a bird that sews."
    )


async def at_once(asks: Iterable[Callable[[], Awaitable[Found]]], width: int) -> list[Found]:
    """All of it, `width` at any time: whoever is done begins the next."""
    waiting, found = iter(asks), []

    async def one() -> None:
        for begin in waiting:
            found.append(await begin())

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(one())
    return found


def _said(line: bytes) -> str:
    """The text in one line of a stream of server-sent events; none in most."""
    if not line.startswith(b"data: {"):
        return ""
    event = orjson.loads(line[6:])
    if "error" in event:
        raise RuntimeError(f"An error in the stream: {event['error']}")
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""

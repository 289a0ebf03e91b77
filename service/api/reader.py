"""Whoever waits for an answer: what is done for them ends when they leave, and events reach them as they come.

Owns how a caller's leaving is noticed. Knows neither engine nor record: what is awaited is cancelled, and puts itself
in order.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

Awaited = TypeVar("Awaited")


class Reader:
    """The caller of one request, whose body was read. Whoever makes one closes it."""

    def __init__(self, request: Request) -> None:
        self._gone = asyncio.create_task(_gone(request))

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """A block that ends where it is when the reader has left, as if it had come to its end.

        By the clockwork of `asyncio.timeout`, which tells its own cancellation from anybody else's: a task for what is
        awaited, and a second one that waits for both, would cost each answer as much as its JSON.
        """
        inside, limit = True, asyncio.timeout(None)
        try:
            async with limit:

                def left(_: object) -> None:
                    if inside:
                        limit.reschedule(0.0)

                self._gone.add_done_callback(left)
                try:
                    yield
                finally:
                    inside = False
                    self._gone.remove_done_callback(left)
        except TimeoutError:
            if not limit.expired():
                raise

    def close(self) -> None:
        self._gone.cancel()


async def unless_gone(request: Request, work: Awaitable[Awaited]) -> Awaited | None:
    """What is awaited, or none when the caller went away first: the work is then cancelled."""
    reader = Reader(request)
    try:
        async with reader.there():
            return await work
        return None
    finally:
        reader.close()


class Events(StreamingResponse):
    """Events as they come, after the first one, until the last or until the reader leaves.

    The generator is ended in both cases. Left alone between two events, it would hold its place and the engine until
    Python collects it.
    """

    def __init__(
        self, first: bytes, rest: AsyncGenerator[bytes, None], reader: Reader, headers: Mapping[str, str]
    ) -> None:
        super().__init__(rest, media_type="text/event-stream", headers=headers)
        self._first, self._rest, self._reader = first, rest, reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._rest), self._reader.there():
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for event in self._rest:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._reader.close()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""One caller's connection: what is written to it at once goes out as one, and nobody keeps an answer by not reading it.

Each write is a call of the system that wakes the reader; an answer's head, its first event and its last bytes come in
twos, and to send them alone cost the gateway an eighth of its work. Knows nothing of what is said.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.logs import log

READING = 60.0
"""Seconds that a caller may leave unread what was sent. Then the answer, which holds a place, is given up."""
FULL = 1 << 16
"""Bytes that do not wait for more."""


class Connection(HttpToolsProtocol):
    """For uvicorn's `http`."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(_Together(transport, self.loop))  # pyrefly: ignore[bad-argument-type]

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience = self.loop.call_later(READING, self._give_up)

    def resume_writing(self) -> None:
        self._wait_no_longer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        request = self.cycle.scope.get("state", {}).get("request_id") if self.cycle else None
        log.warning("answer given up: nobody reads it", extra={"fields": {"request": request}})
        self.transport.abort()


class _Together:
    """A transport that sends at the end of the loop's present turn what was written in it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= FULL:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._transport.write(b"".join(parts))

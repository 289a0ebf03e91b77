"""An answer that falls silent in the middle is broken off. One timer for each stream, and nothing for each word of it.

Knows no engine. How long the first words may take is another question: see `client`.
"""

import asyncio

import aiohttp


class Silence:
    """Breaks `response` off with `TimeoutError` when it was read for `patience` seconds and gave nothing."""

    def __init__(self, response: aiohttp.ClientResponse, patience: float) -> None:
        self._response, self._patience = response, patience
        self._loop = asyncio.get_running_loop()
        self._since: float | None = self._loop.time()
        self._timer = self._loop.call_later(patience, self._look)

    def read(self) -> None:
        """From now on something is waited for."""
        self._since = self._loop.time()

    def heard(self) -> None:
        """Something came. Until `read` its reader is the one who takes time."""
        self._since = None

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._since is None else self._since
        if now - since >= self._patience:
            self._response.content.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_at(since + self._patience, self._look)

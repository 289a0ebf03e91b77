"""Notices an engine that lives and does nothing, and has it killed, so that it is started again.

vLLM's `/health` says that the core has not died; of one that hangs it says the same. Proof of life is here
a step: the engine's own count of them has moved since the last look, or a request for one token is
answered. Owns that judgement. Knows nothing of how the process is started again (`supervisor` does), and
never judges an engine that has not been up yet in its present life.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from service.engine.client import Engine
from service.errors import EngineUnavailable, TailorbirdError

logger = logging.getLogger(__name__)


class Watchdog:
    """Run `run` as a task. `life` names the engine's present process, none while there is none."""

    def __init__(
        self,
        engine: Engine,
        model: str,
        life: Callable[[], int | None],
        kill: Callable[[], None],
        *,
        interval: float,
        patience: float,
    ) -> None:
        """Seconds between two looks, and without a step until the engine counts as hung.

        On many cores a look at an idle engine costs a second of one: its worker spins that long after each step. The
        patience must outlast the longest single step (a prompt of full length on a busy processor).
        """
        self._engine, self._model, self._life, self._kill = engine, model, life, kill
        self._interval, self._patience = interval, patience
        self._up: int | None = None
        self._steps: float | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                life = self._life()
                if life is None or not await self._was_up(life) or await self._moves():
                    continue
                if self._life() == life:
                    logger.warning("the engine has done nothing for %g s; killing it", self._patience)
                    self._kill()
        finally:
            await self._engine.close()

    async def _was_up(self, life: int) -> bool:
        """Whether this process has been up before: until then it is starting, however long that takes."""
        if self._up != life and await self._engine.health():
            self._up, self._steps = life, None
        return self._up == life

    async def _moves(self) -> bool:
        """Whether a step is made, or a token answered, before the patience ends."""
        deadline, beat = time.monotonic() + self._patience, self._patience / 30
        token = asyncio.create_task(self._one_token())
        try:
            while time.monotonic() < deadline:
                if await self._stepped() or (token.done() and token.result()):
                    return True
                await asyncio.wait([token], timeout=beat)
                if token.done() and not token.result():
                    await asyncio.sleep(beat)
            return False
        finally:
            token.cancel()
            await asyncio.gather(token, return_exceptions=True)

    async def _one_token(self) -> bool:
        """Whether one token was answered; an engine that is gone is the supervisor's, and counts as well."""
        body = {"model": self._model, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        try:
            await self._engine.chat(body)
        except EngineUnavailable:
            return True
        except TailorbirdError:  # a full queue, for one: it says nothing about the core
            return False
        return True

    async def _stepped(self) -> bool:
        """Whether the count of steps has changed since it was last read."""
        now = await self._engine.steps()
        if now is None:
            return False
        before, self._steps = self._steps, now
        return before is not None and now != before

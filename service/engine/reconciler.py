"""Sees to it that every engine serves every adapter it should, before it is given a request.

Owns `Engine.ready` and `Engine.models`. The wanted adapters are asked for at each look, so a restart, a
new engine or an adapter published elsewhere need no message. Knows nothing of where the list comes from.
An adapter that cannot be loaded is left out and named in `problems`: requests for it are refused, all
others are served. So is one whose files are gone: an engine that has pushed it out of memory reads them again in
the middle of a step, for everybody's requests, and vLLM 0.32 dies of what it does not find there.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable

from service.contract.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from service.engine.client import Engine
from service.engine.engines import Engines
from service.errors import EngineError, EngineTimeout, EngineUnavailable, FilesGone, TailorbirdError

logger = logging.getLogger(__name__)

Desired = Callable[[], Awaitable[dict[str, str]]]
"""Gives {adapter's engine name: folder with its files}."""

Check = Callable[[str], None]
"""Takes the folder of an adapter; raises what is wrong with it, as `must_be_there`."""

Gone = Callable[[], Awaitable[set[str]]]
"""Gives the engine names of adapters that no request may ask for any more."""


async def _nothing() -> set[str]:
    return set()


RETRY_AFTER = 30.0
"""Seconds until an adapter that was refused is tried again on the same engine."""
BEATS = 3
"""Times between two looks that a ready engine is asked whether it lives, so that nobody is sent to a dead one long."""
PATIENCE = 5
"""Health checks in a row that may time out (2 s each) before a slow engine counts as gone."""
SPOKE = 5.0
"""Seconds since the last words of an answer for which an engine counts as alive all the same."""


def must_be_there(path: str) -> None:
    """Raise `FilesGone` when an adapter's files are gone. Asked before each of its requests as well, at the price of
    two questions to the disk: between two looks, one request would end the engine."""
    if not _there(path):
        raise FilesGone(
            "Its files are gone from the store. Put them back from a backup, or delete the model."
        )


class Reconciler:
    """Run `run` as a task; `problems` holds {adapter: why an engine refused it}, `causes` the codes of the same."""

    def __init__(
        self,
        engines: Engines,
        desired: Desired,
        gone: Gone = _nothing,
        *,
        check: Check = must_be_there,
        base: str | None = None,
        interval: float = 1.0,
    ) -> None:
        """`check` is asked of each wanted adapter before an engine sees it, and again for each request. `base` is the
        base model's name: an engine that comes up is asked it for the kinds of work it compiles at first use, so that
        nobody waits for that later."""
        self.problems: dict[str, str] = {}
        self.causes: dict[str, str] = {}
        self.check, self._base = check, base
        self._engines, self._desired, self._gone, self._interval = engines, desired, gone, interval
        self._dropped: set[tuple[str, str]] = set()
        self._slow: dict[str, int] = {}
        self._refused: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Look after all engines until cancelled; each is looked at every `interval` seconds."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines:
                group.create_task(self._watch(engine))

    async def look(self, engine: Engine) -> None:
        """One look: is it alive, what does it serve, what is missing; then ready, or not. Raises nothing."""
        if not await self._alive(engine) or not await self._moves(engine):
            self._lost(engine)
            return
        try:
            if not engine.ready:
                engine.release = f"vllm {await engine.version()}"
                if self._base is not None:
                    await engine.warm_up(self._base)
            served = await engine.served()
            wanted, gone = await self._desired(), await self._gone()
        except EngineTimeout:
            return
        except EngineUnavailable:
            self._lost(engine)
            return
        except Exception:
            # The list comes from outside (a database): without it an engine already at work goes on,
            # and a new one waits.
            logger.exception("the list of adapters for the engine at %s cannot be had", engine.url)
            return
        engine.models = await self._changed(engine, served, wanted, gone)
        if not engine.ready:
            logger.info("the engine at %s is ready and serves %d models", engine.url, len(engine.models))
        engine.ready = True

    async def ensure(self, name: str, path: str) -> None:
        """Load one adapter on every engine that is up, now.

        One that is down loads it before it is ready again, if it is wanted by then. Raises `EngineError`
        with the reason if any engine refuses it or its files are gone, `EngineUnavailable` if none is up, and what
        `check` does.
        """
        self.check(path)
        up = [engine for engine in self._engines if await engine.health()]
        if not up:
            raise EngineUnavailable("No engine is running, so the adapter cannot be loaded. Try again soon.")
        for engine in up:
            await engine.load(name, path)
            engine.models = engine.models | {name}

    async def _watch(self, engine: Engine) -> None:
        while True:
            await self.look(engine)
            for _ in range(BEATS):
                await asyncio.sleep(self._interval / BEATS)
                # Whether it lives costs one small request; what it serves costs three, two of them to the database.
                if engine.ready and not await self._alive(engine):
                    self._lost(engine)

    async def _alive(self, engine: Engine) -> bool:
        try:
            await engine.check()
        except EngineTimeout:
            # A machine under load may answer late; only a ready engine has earned the benefit of doubt.
            # One that still speaks is alive, however long its `/health` has to wait.
            self._slow[engine.url] = self._slow.get(engine.url, 0) + 1
            speaks = time.monotonic() - engine.heard < SPOKE
            return engine.ready and (speaks or self._slow[engine.url] < PATIENCE)
        except TailorbirdError:
            return False
        self._slow.pop(engine.url, None)
        return True

    async def _moves(self, engine: Engine) -> bool:
        """One that hung has to answer first; its `/health` says nothing of a core that stands still."""
        if not engine.hung or self._base is None:
            return True
        self._lost(engine)  # nobody is sent there while it is asked
        return await engine.answers_again(self._base)

    def _lost(self, engine: Engine) -> None:
        if engine.ready:
            logger.warning("the engine at %s is gone", engine.url)
        engine.ready = False
        engine.models = set()
        for key in [key for key in self._refused if key[0] == engine.url]:
            del self._refused[key]
        self._dropped = {key for key in self._dropped if key[0] != engine.url}

    async def _changed(
        self, engine: Engine, served: set[str], wanted: dict[str, str], gone: set[str]
    ) -> set[str]:
        """What the engine serves after loading what is missing and forgetting what is gone."""
        unfit = await asyncio.to_thread(self._unfit, wanted)
        for name, path in wanted.items():
            if name in unfit:
                self._note(engine, name, unfit[name])
                served.discard(name)
            elif name not in served and await self._load(engine, name, path):
                served.add(name)
        for name in (served & gone) - wanted.keys():
            # Its name must last as long as requests that were let in with it may reach the engine.
            if not engine.in_use(name) and await self._drop(engine, name):
                served.remove(name)
        for name in self.problems.keys() - (wanted.keys() - served):
            del self.problems[name], self.causes[name]
        return served

    def _unfit(self, wanted: dict[str, str]) -> dict[str, TailorbirdError]:
        """Adapters that no engine may be asked for, and why."""
        why: dict[str, TailorbirdError] = {}
        for name, path in wanted.items():
            try:
                self.check(path)
            except TailorbirdError as error:
                why[name] = error
        return why

    async def _load(self, engine: Engine, name: str, path: str) -> bool:
        key = (engine.url, name)
        if time.monotonic() < self._refused.get(key, 0.0):
            return False
        try:
            await engine.load(name, path)
        except (EngineError, EngineUnavailable, EngineTimeout, ValueError) as error:
            self._refused[key] = time.monotonic() + RETRY_AFTER
            self._note(engine, name, error)
            return False
        self._refused.pop(key, None)
        logger.info("the engine at %s has loaded adapter %s", engine.url, name)
        return True

    def _note(self, engine: Engine, name: str, error: Exception) -> None:
        if self.problems.get(name) != (why := str(error)):
            logger.warning("the engine at %s does not serve adapter %s: %s", engine.url, name, why)
        self.problems[name], self.causes[name] = why, getattr(error, "code", None) or ""

    async def _drop(self, engine: Engine, name: str) -> bool:
        """Have the engine forget an adapter, once: who loads it again after that has a reason to."""
        if (engine.url, name) in self._dropped:
            return False
        try:
            await engine.unload(name)
        except TailorbirdError as error:
            logger.warning("the engine at %s keeps adapter %s: %s", engine.url, name, error)
            return False
        self._dropped.add((engine.url, name))
        logger.info("the engine at %s has forgotten adapter %s", engine.url, name)
        return True


def _there(path: str) -> bool:
    """Whether an engine finds there what it reads; a disk that was full leaves empty files."""
    try:
        return all(os.stat(os.path.join(path, name)).st_size for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
    except OSError:
        return False

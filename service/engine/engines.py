"""All engines of this service, and the choice among them.

Owns which engine gets a request. Knows nothing of the wire (`client` does) nor of what makes an engine ready
(`reconciler` does).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator

from service.engine.client import Engine
from service.engine.refusals import GONE
from service.errors import EngineUnavailable


class Engines:
    """All engines of this service. Iterates every one, ready or not."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = list(engines)

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines)

    @property
    def ready(self) -> bool:
        """Whether any engine can answer now."""
        return any(engine.ready and not engine.hung for engine in self._engines)

    def pick(self, model: str) -> Engine:
        """A ready engine that serves `model` (an adapter's engine name, or the base model's).

        Rendezvous hashing (Thaler and Ravishankar 1998) keeps a model on one engine, where its prefixes
        are cached; bounded loads (Mirrokni et al. 2018, arXiv:1608.01350, factor 1.25) spill a hot one to
        the next. Raises `EngineUnavailable`.
        """
        able = [e for e in self._engines if e.ready and not e.hung and model in e.models]
        if not able:
            if not self.ready:
                raise EngineUnavailable(GONE)
            raise EngineUnavailable(f"No engine has loaded '{model}' yet. Try again in a few seconds.")
        bound = math.ceil(1.25 * (1 + sum(engine.in_flight for engine in able)) / len(able))
        able.sort(key=lambda engine: hashlib.sha256(f"{engine.url}\0{model}".encode()).digest())
        return next(engine for engine in able if engine.in_flight < bound)

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()

    async def give_up(self) -> None:
        for engine in self._engines:
            await engine.give_up()

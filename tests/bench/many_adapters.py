"""R4: many adapters asked in turn beside one, tokens a second, by the engine alone. 8 of them fit in a step."""

import time

from service.engine.client import Engine
from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_rounds, percentile
from tests.bench.places import Place
from tests.bench.streams import Way, ask, at_once, question, way

CALLERS, TOKENS, ROUNDS = 8, 16, 3


async def measure(place: Place, adapters: dict[str, str]) -> list[Figure]:
    """`adapters` is {name: folder}; each is asked once in a round."""
    await load(place, adapters)
    names, first = list(adapters), next(iter(adapters))
    async with way(place.url, EMBEDDED) as engine:
        await _speed(engine, names, 2)
        many, one, spent = [], [], {"many": [], "one": []}
        turns = (("many", many, names), ("one", one, [first] * len(names)))
        for number in range(ROUNDS):
            for side, kept, asked in turns[:: 1 if number % 2 else -1]:
                before = place.cpu()
                kept.append(await _speed(engine, asked, TOKENS))
                spent[side].append((place.cpu() - before) * 1000 / (len(names) * TOKENS))
    ratios = [a / b for a, b in zip(many, one, strict=True)]
    detail = f"{percentile(many, 0.5):.1f} / {percentile(one, 0.5):.1f} tokens a second"
    what = f"{len(names)} adapters in turn / one, tokens a second with {CALLERS} callers"
    return [
        of_rounds("R4", what, ratios, at_least=0.80, detail=detail),
        *(of_rounds("R4", f"processor time of the engine for a token, {side}", spent[key], unit="ms")
          for key, side in (("many", "all in turn"), ("one", "one adapter"))),
    ]  # fmt: skip


async def load(place: Place, adapters: dict[str, str]) -> None:
    client = Engine(place.url)
    try:
        for name, folder in adapters.items():
            await client.load(name, folder)
    finally:
        await client.close()


async def _speed(engine: Way, models: list[str], tokens: int) -> float:
    """Tokens a second of one request for each of `models`, in this order."""
    asks = [lambda model=model: ask(engine.of(model), question(), tokens) for model in models]
    began = time.perf_counter()
    await at_once(asks, CALLERS)
    return len(models) * tokens / (time.perf_counter() - began)

"""R3: milliseconds that the gateway adds before the first token, beside what LiteLLM's proxy adds.

Both stand before the same instant upstream on the same kind of socket, ask for a key, and are asked in
turn, one request at a time. The gateway records every answer in its database.
"""

import itertools
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from service.settings import EMBEDDED
from tests.bench import litellm
from tests.bench.figures import Figure, of_rounds, percentile
from tests.bench.instant import WORDS
from tests.bench.places import gateway, upstream
from tests.bench.streams import Way, ask, question, way

ROUNDS, EACH = 7, 60
"""Rounds, and requests of each way in one."""
STORY = "R3"


async def measure(home: Path, cache: Path) -> list[Figure]:
    """Starts what it needs. Where LiteLLM cannot be installed, only the gateway is measured, and it is said."""
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(upstream(home))
        places = {"gateway": await stack.enter_async_context(gateway(home, source.url))}
        try:
            places["litellm"] = await stack.enter_async_context(litellm.proxy(cache, home, source.url))
        except litellm.NotInstalled as error:
            print(f"R3 without its rival: {error}", file=sys.stderr)
        ways = {"straight": await stack.enter_async_context(way(source.url, EMBEDDED))}
        for name, place in places.items():
            ways[name] = await stack.enter_async_context(way(place.url, EMBEDDED, place.key))
        await _round(ways)
        before = {name: place.cpu() for name, place in places.items()}
        rounds = [await _round(ways) for _ in range(ROUNDS)]
        spent = {name: (place.cpu() - before[name]) / (ROUNDS * EACH) for name, place in places.items()}
    return [*_figures("first token", "first", rounds), *_figures(f"{WORDS} tokens", "took", rounds),
            *(_processor(name, value) for name, value in spent.items())]  # fmt: skip


Round = dict[str, dict[str, float]]
"""{way: {"first" or "took": median milliseconds}}."""


async def _round(ways: dict[str, Way]) -> Round:
    heard = {name: [] for name in ways}
    orders = itertools.cycle(itertools.permutations(ways))
    for _, order in zip(range(EACH), orders, strict=False):
        for name in order:
            heard[name].append(await ask(ways[name], question(), WORDS))
    return {
        name: {
            part: percentile([getattr(one, part) * 1000 for one in all_], 0.5) for part in ("first", "took")
        }
        for name, all_ in heard.items()
    }


def _figures(what: str, part: str, rounds: list[Round]) -> list[Figure]:
    added = {
        name: [one[name][part] - one["straight"][part] for one in rounds]
        for name in rounds[0]
        if name != "straight"
    }
    first = part == "first"
    found = [
        of_rounds(
            STORY,
            f"added by the gateway until the {what}" if first else f"added by the gateway to {what}",
            added["gateway"],
            unit="ms",
            at_most=1.0 if first else None,
        )  # fmt: skip
    ]
    if "litellm" in added:
        ratios = [ours / theirs for ours, theirs in zip(added["gateway"], added["litellm"], strict=True)]
        typical = percentile(added["litellm"], 0.5)
        found.append(
            of_rounds(
                STORY,
                f"the same / added by LiteLLM {litellm.VERSION}, which records nothing",
                ratios,
                at_most=0.25 if first else None,
                detail=f"it adds {typical:.2f} ms",
            )  # fmt: skip
        )
    return found


def _processor(name: str, seconds: float) -> Figure:
    return of_rounds(STORY, f"processor time of {name} for a request", [seconds * 1000], unit="ms")

"""R1 and R2: the gateway beside straight vLLM, over the same engine on the same cores.

Time to first token with 1 and 8 callers at any time, who ask again when answered; tokens a second while
more callers ask, over and over, than the engine works on in a step. Rounds take turns; every question is new.
"""

import asyncio
import itertools
import time

from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_percentiles, of_rounds, percentile
from tests.bench.places import Place
from tests.bench.streams import Heard, Way, ask, at_once, question, way

ROUNDS = 5
SHORT = 2
"""Tokens of an answer when its first one is what counts."""
ASKED = {1: 60, 8: 64}
"""{callers: requests in one round of one way}: 300 of each way in all, below which a 99th percentile is one request."""
CALLERS, LONG, FULL_ROUNDS = 40, 32, 3
"""When the engine is full (it works on 32 at once): callers, tokens of an answer, rounds."""
FILLS, STEADY = 8.0, 30.0
"""Seconds until as many answers end as begin, and seconds that are counted after them."""


async def first_token(engine: Place, gateway: Place) -> list[Figure]:
    """R1, at the median and at the 99th percentile of all requests."""
    async with way(engine.url, EMBEDDED) as straight, way(gateway.url, EMBEDDED, gateway.key) as through:
        found = []
        for callers, asked in ASKED.items():
            firsts: dict[Way, list[float]] = {through: [], straight: []}
            spent: dict[Way, list[float]] = {through: [], straight: []}
            for number in range(-1, ROUNDS):
                for one in (through, straight) if number % 2 else (straight, through):
                    before = engine.cpu() + gateway.cpu()
                    heard = await _firsts(one, callers, asked if number >= 0 else callers)
                    if number >= 0:  # the first round warms up
                        firsts[one] += heard
                        spent[one].append((engine.cpu() + gateway.cpu() - before) * 1000 / asked)
            found += _first_token_figures(callers, firsts[through], firsts[straight])
            found.append(
                _processor_figure("R1", f"a request, {callers} at once", spent[through], spent[straight])
            )
    return found


async def throughput(engine: Place, gateway: Place) -> list[Figure]:
    """R2, and the processor time of the gateway."""
    async with way(engine.url, EMBEDDED) as straight, way(gateway.url, EMBEDDED, gateway.key) as through:
        speeds: dict[Way, list[float]] = {straight: [], through: []}
        spent: dict[Way, list[float]] = {straight: [], through: []}
        own = []
        for number in range(-1, FULL_ROUNDS):
            for one in (straight, through) if number % 2 else (through, straight):
                before = engine.cpu(), gateway.cpu()
                tokens, took, all_tokens = await _full(one)
                if number >= 0:
                    used = engine.cpu() - before[0], gateway.cpu() - before[1]
                    speeds[one].append(tokens / took)
                    spent[one].append(sum(used) * 1000 / all_tokens)
                    if one is through:
                        own.append(used[1] * 1000 / all_tokens)
    ours, theirs = speeds[through], speeds[straight]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    detail = f"{percentile(ours, 0.5):.1f} / {percentile(theirs, 0.5):.1f} tokens a second"
    return [
        of_rounds("R2", f"tokens a second with {CALLERS} callers, gateway / straight", ratios,
                  at_least=0.98, detail=detail),
        of_rounds("R2", "processor time of the gateway for a token", own, unit="ms"),
        _processor_figure("R2", "a token", spent[through], spent[straight]),
    ]  # fmt: skip


async def _firsts(one: Way, callers: int, asked: int) -> list[float]:
    """Milliseconds to the first token, of each request."""
    heard = await at_once([lambda: ask(one, question(), SHORT)] * asked, callers)
    return [each.first * 1000 for each in heard]


async def _full(one: Way) -> tuple[float, float, int]:
    """Tokens that came in the steady seconds, those seconds, and the tokens of all answers until the last caller
    had its own."""
    begin = time.perf_counter() + FILLS
    end = begin + STEADY

    async def keep_asking() -> list[Heard]:
        heard = []
        while time.perf_counter() < end:
            heard.append(await ask(one, question(), LONG))
        return heard

    heard = list(itertools.chain(*await asyncio.gather(*(keep_asking() for _ in range(CALLERS)))))
    return sum(each.tokens_within(begin, end) for each in heard), STEADY, len(heard) * LONG


def _first_token_figures(callers: int, ours: list[float], theirs: list[float]) -> list[Figure]:
    what = f"time to first token, {callers} at once, gateway / straight"
    return [
        of_percentiles(
            "R1", f"{what}, p{round(share * 100)}", ours, theirs, share, at_most=most,
            detail=f"{percentile(ours, share):.1f} / {percentile(theirs, share):.1f} ms",
        )
        for share, most in ((0.5, 1.03), (0.99, 1.10))
    ]  # fmt: skip


def _processor_figure(story: str, of_what: str, ours: list[float], theirs: list[float]) -> Figure:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    detail = f"{percentile(ours, 0.5):.1f} / {percentile(theirs, 0.5):.1f} ms"
    return of_rounds(story, f"processor time of engine and gateway for {of_what}, gateway / straight", ratios,
                     detail=detail)  # fmt: skip

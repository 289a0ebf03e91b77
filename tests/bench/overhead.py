"""R1 and R2: the gateway beside straight vLLM, over the same engine on the same cores.

Time to first token with 1 and 8 callers at any time, who ask again when answered; tokens a second when
more callers wait than the engine works on in a step. Rounds take turns; every question is new.
"""

import time

from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_percentiles, of_rounds, percentile
from tests.bench.places import Place
from tests.bench.streams import Way, ask, at_once, question, way

ROUNDS = 3
SHORT = 6
"""Tokens of an answer when its first one is what counts."""
ASKED = {1: 20, 8: 32}
"""{callers: requests in one round of one way}."""
CALLERS, LONG, ANSWERS, FULL_ROUNDS = 16, 32, 16, 3
"""When the engine is full: callers, tokens of an answer, answers in a round of one way, rounds."""


async def first_token(engine: Place, gateway: Place) -> list[Figure]:
    """R1, at the median and at the 99th percentile of all requests."""
    async with way(engine.url, EMBEDDED) as straight, way(gateway.url, EMBEDDED, gateway.key) as through:
        found = []
        for callers, asked in ASKED.items():
            ours: list[list[float]] = []
            theirs: list[list[float]] = []
            for number in range(-1, ROUNDS):
                both = [(through, ours), (straight, theirs)]
                for one, kept in both if number % 2 else reversed(both):
                    firsts = await _firsts(one, callers, asked if number >= 0 else callers)
                    if number >= 0:  # the first round warms up
                        kept.append(firsts)
            found += _first_token_figures(callers, ours, theirs)
    return found


async def throughput(engine: Place, gateway: Place) -> list[Figure]:
    """R2, and the processor time of the gateway."""
    async with way(engine.url, EMBEDDED) as straight, way(gateway.url, EMBEDDED, gateway.key) as through:
        speeds: dict[Way, list[float]] = {straight: [], through: []}
        spent = []
        for number in range(-1, FULL_ROUNDS):
            for one in (straight, through) if number % 2 else (through, straight):
                before = gateway.cpu()
                speed = await _speed(one)
                if number >= 0:
                    speeds[one].append(speed)
                    if one is through:
                        spent.append((gateway.cpu() - before) * 1000 / (ANSWERS * LONG))
    ours, theirs = speeds[through], speeds[straight]
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    detail = f"{percentile(ours, 0.5):.1f} / {percentile(theirs, 0.5):.1f} tokens a second"
    return [
        of_rounds("R2", f"tokens a second with {CALLERS} callers, gateway / straight", ratios,
                  at_least=0.98, detail=detail),
        of_rounds("R2", "processor time of the gateway for a token", spent, unit="ms"),
    ]  # fmt: skip


async def _firsts(one: Way, callers: int, asked: int) -> list[float]:
    """Milliseconds to the first token, of each request."""
    heard = await at_once([lambda: ask(one, question(), SHORT)] * asked, callers)
    return [each.first * 1000 for each in heard]


async def _speed(one: Way) -> float:
    began = time.perf_counter()
    await at_once([lambda: ask(one, question(), LONG)] * ANSWERS, CALLERS)
    return ANSWERS * LONG / (time.perf_counter() - began)


def _first_token_figures(callers: int, ours: list[list[float]], theirs: list[list[float]]) -> list[Figure]:
    what = f"time to first token, {callers} at once, gateway / straight"
    all_ours, all_theirs = [sum(rounds, []) for rounds in (ours, theirs)]
    return [
        of_percentiles(
            "R1", f"{what}, p{round(share * 100)}", all_ours, all_theirs, share, at_most=most,
            detail=f"{percentile(all_ours, share):.1f} / {percentile(all_theirs, share):.1f} ms",
        )
        for share, most in ((0.5, 1.03), (0.99, 1.10))
    ]  # fmt: skip

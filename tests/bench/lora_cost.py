"""R5: one adapter beside an engine that knows no LoRA, and beside vLLM without our plugin.

All three are started by the same command: one less its flags, one less the plugin's name. Rounds take turns.
"""

from dataclasses import dataclass

from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_rounds, percentile
from tests.bench.many_adapters import load
from tests.bench.places import Place
from tests.bench.streams import Way, ask, at_once, question, way

TOKENS, ROUNDS = 16, 3
ASKED = {1: 8, 8: 16}
"""{callers: requests in one round of one engine}."""
BOUNDS = {
    "pace": ("decoding, tokens a second of one stream", {"at_least": 0.80}, ""),
    "first": ("time to first token", {"at_most": 1.3}, " ms"),
    "spent": ("processor time for a token", {}, " ms"),
}


@dataclass(frozen=True)
class Seen:
    """One round of one engine: two medians, and the mean over the round."""

    pace: float
    """Tokens a second after the first."""
    first: float
    """Milliseconds to the first token."""
    spent: float
    """Milliseconds of the engine's processor time for a token."""


async def measure(tuned: Place, stock: Place, plain: Place, adapters: dict[str, str]) -> list[Figure]:
    """The first of `adapters` answers in `tuned` and in `stock`, which has no plugin; the base model in `plain`."""
    name = next(iter(adapters))
    places = {"tuned": tuned, "stock": stock, "plain": plain}
    for place in (tuned, stock):
        await load(place, {name: adapters[name]})
    found = []
    async with way(tuned.url, name) as ours, way(stock.url, name) as theirs, way(plain.url, EMBEDDED) as base:
        ways = {"tuned": ours, "stock": theirs, "plain": base}
        for callers, asked in ASKED.items():
            rounds = []
            for number in range(-1, ROUNDS):
                turn = list(ways)[:: 1 if number % 2 else -1]
                rounds.append(
                    {
                        side: await _round(
                            places[side], ways[side], callers, asked if number >= 0 else callers
                        )
                        for side in turn
                    }
                )
            found += _figures(callers, rounds[1:])  # the first round warms up
    return found


async def _round(place: Place, one: Way, callers: int, asked: int) -> Seen:
    before = place.cpu()
    heard = await at_once([lambda: ask(one, question(), TOKENS)] * asked, callers)
    spent = (place.cpu() - before) * 1000 / (asked * TOKENS)
    return Seen(
        percentile([each.pace for each in heard], 0.5), percentile([each.first * 1000 for each in heard], 0.5), spent
    )  # fmt: skip


def _figures(callers: int, rounds: list[dict[str, Seen]]) -> list[Figure]:
    found = []
    for side, words in (("tuned", "one adapter"), ("stock", "the same by vLLM without the plugin")):
        for part, (what, bound, unit) in BOUNDS.items():
            ours, theirs = [[getattr(one[which], part) for one in rounds] for which in (side, "plain")]
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            detail = f"{percentile(ours, 0.5):.1f} / {percentile(theirs, 0.5):.1f}{unit}"
            target = bound if side == "tuned" else {}
            found.append(
                of_rounds(
                    "R5", f"{what}, {callers} at once, {words} / no LoRA", ratios, detail=detail, **target
                )
            )
    return found

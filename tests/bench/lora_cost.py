"""R5: one adapter beside an engine that knows no LoRA, started by the same command less its flags."""

from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_rounds, percentile
from tests.bench.many_adapters import load
from tests.bench.places import Place
from tests.bench.streams import Heard, Way, ask, at_once, question, way

TOKENS, ROUNDS = 16, 3
ASKED = {1: 3, 8: 8}
"""{callers: requests in one round of one engine}."""


async def measure(tuned: Place, plain: Place, adapters: dict[str, str]) -> list[Figure]:
    """The first of `adapters` answers in the engine with LoRA, the base model in the other."""
    name = next(iter(adapters))
    await load(tuned, {name: adapters[name]})
    found = []
    async with way(tuned.url, name) as ours, way(plain.url, EMBEDDED) as theirs:
        for callers, asked in ASKED.items():
            rounds = []
            for number in range(-1, ROUNDS):
                pair = {}
                for one in (ours, theirs) if number % 2 else (theirs, ours):
                    pair[one] = await _round(one, callers, asked if number >= 0 else callers)
                if number >= 0:
                    rounds.append((pair[ours], pair[theirs]))
            found += _figures(callers, rounds)
    return found


Seen = tuple[float, float]
"""Medians of one round: tokens a second after the first, milliseconds to the first."""


async def _round(one: Way, callers: int, asked: int) -> Seen:
    heard: list[Heard] = await at_once([lambda: ask(one, question(), TOKENS)] * asked, callers)
    return percentile([each.pace for each in heard], 0.5), percentile(
        [each.first * 1000 for each in heard], 0.5
    )


def _figures(callers: int, rounds: list[tuple[Seen, Seen]]) -> list[Figure]:
    kinds = (
        ("decoding, tokens a second of one stream", {"at_least": 0.80}),
        ("time to first token", {"at_most": 1.3}),
    )
    found = []
    for part, (what, bound) in enumerate(kinds):
        ours, theirs = [one[0][part] for one in rounds], [one[1][part] for one in rounds]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        detail = f"{percentile(ours, 0.5):.1f} / {percentile(theirs, 0.5):.1f}" + (" ms" if part else "")
        found.append(
            of_rounds(
                "R5", f"{what}, {callers} at once, one adapter / no LoRA", ratios, detail=detail, **bound
            )
        )
    return found

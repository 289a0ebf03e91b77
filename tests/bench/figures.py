"""What a benchmark found: one figure, its spread, and whether it reached what it had to. Measures nothing."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

DRAWS = 400
"""Resamples behind the interval of a percentile."""


@dataclass(frozen=True)
class Figure:
    """One measured number with its spread: lowest and highest round, or a percentile's 95% interval."""

    story: str
    what: str
    value: float
    low: float
    high: float
    samples: int
    unit: str = ""
    """Empty for a ratio."""
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""
    """The absolute figures behind a ratio."""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


def of_rounds(story: str, what: str, values: Sequence[float], **more: Any) -> Figure:
    """The median of one value for each round, between the lowest and the highest."""
    return Figure(story, what, statistics.median(values), min(values), max(values), len(values), **more)


def of_percentiles(
    story: str, what: str, ours: Sequence[float], theirs: Sequence[float], share: float, **more: Any
) -> Figure:
    """`ours` / `theirs` at one percentile, with the 95% interval of a percentile bootstrap (Efron 1979)."""
    draw = random.Random(0)

    def again(values: Sequence[float]) -> float:
        return percentile(draw.choices(values, k=len(values)), share)

    ratios = [again(ours) / again(theirs) for _ in range(DRAWS)]
    value = percentile(ours, share) / percentile(theirs, share)
    low, high = percentile(ratios, 0.025), percentile(ratios, 0.975)
    return Figure(story, what, value, low, high, len(ours), **more)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, straight between two neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def table(figures: Sequence[Figure]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| | what | median | spread | samples | target | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in figures:
        unit = f" {one.unit}" if one.unit else ""
        verdict = {True: "reached", False: "**missed**", None: ""}[one.reached]
        what = f"{one.what} ({one.detail})" if one.detail else one.what
        lines.append(
            f"| {one.story} | {what} | {_short(one.value)}{unit} | {_short(one.low)} to {_short(one.high)} "
            f"| {one.samples} | {one.target} | {verdict} |"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

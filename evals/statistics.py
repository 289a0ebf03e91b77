"""How sure a figure is: intervals of means, of rates and of paired differences.

Owns the arithmetic of doubt. Cases are taken to be independent of each other. Knows no metric.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
Z = 1.959964
"""Half-width of a 95 % interval in standard errors of a normal distribution."""
_AT_A_TIME = 2_000_000
"""Draws held in memory at once."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float


def bootstrap(values: Values, seed: int = 0) -> Interval:
    """Mean of `values` (n,) with its 95 % percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    10,000 resamples with a fixed seed. Given paired differences it is the paired bootstrap. Raises
    `ValueError` on no values. Below about ten values the interval is too narrow: see `gate`.
    """
    count = len(values)
    if not count:
        raise ValueError("no values to take a mean of")
    random = np.random.default_rng(seed)
    means: list[Values] = []
    rows = max(1, _AT_A_TIME // count)
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(0, count, (min(rows, RESAMPLES - start), count))
        means.append(values[drawn].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def wilson(hits: int, count: int) -> Interval:
    """A rate with its 95 % score interval (Wilson 1927), which is honest at 0 and at 1."""
    if not count:
        raise ValueError("no values to take a rate of")
    rate, squared = hits / count, Z * Z
    centre = (rate + squared / (2 * count)) / (1 + squared / count)
    half = Z / (1 + squared / count) * math.sqrt(rate * (1 - rate) / count + squared / (4 * count * count))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))


def interval_of(scores: Values, seed: int = 0) -> Interval:
    """Wilson's interval when every score is 0 or 1, the bootstrap's otherwise."""
    if np.isin(scores, (0.0, 1.0)).all():
        return wilson(int(scores.sum()), len(scores))
    return bootstrap(scores, seed)


def spread(differences: Values) -> float:
    """Sample standard deviation of paired differences; 0 for a single one."""
    return float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0


def cases_needed(deviation: float, distance: float) -> int | None:
    """How many cases make half a 95 % interval shorter than `distance`: (1.96 s / distance)².

    `None` when `distance` is not positive: more cases of this kind would not help.
    """
    if distance <= 0:
        return None
    return math.ceil((Z * deviation / distance) ** 2)

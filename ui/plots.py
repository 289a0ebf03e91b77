"""Plots as inline SVG: curves of a training on one scale, and how many rows are how long.

Owns their drawing. Colours are the page's, so that one drawing fits light and dark. Knows no verdict and no language.
"""

from markupsafe import Markup

from service.contract.sheets import Lengths
from ui.pages import render
from ui.words import Words

WIDE, HIGH = 600, 200
LOW = 120
"""The height of a histogram."""
POINTS = 300
"""A line of more points is drawn of so many, the last one among them: no more can be seen."""


def curves(
    w: Words, title: str, series: dict[str, list[tuple[int, float]]], colours: dict[str, str]
) -> Markup:
    """The drawing with its title and legend; nothing where there is no point."""
    drawn = {label: points for label, points in series.items() if points}
    if not drawn:
        return Markup("")
    everything = [point for points in drawn.values() for point in points]
    first, last = min(step for step, _ in everything), max(step for step, _ in everything)
    low, high = min(value for _, value in everything), max(value for _, value in everything)

    def place(point: tuple[int, float]) -> tuple[float, float]:
        across = (point[0] - first) / ((last - first) or 1)
        up = (point[1] - low) / ((high - low) or 1)
        return round(across * WIDE, 1), round((1 - up) * HIGH, 1)

    lines = [
        (label, colours[label], [place(one) for one in _thin(points)]) for label, points in drawn.items()
    ]
    return Markup(
        render(
            "curves",
            w,
            title=title,
            lines=lines,
            wide=WIDE,
            high=HIGH,
            low=low,
            top=high,
            first=first,
            last=last,
        )
    )


def histogram(w: Words, title: str, found: Lengths) -> Markup:
    """Rows by length, with the middle one and the one that 19 of 20 do not exceed; nothing where none were counted."""
    if not found.bins:
        return Markup("")
    most = max(one.rows for one in found.bins)
    width = (found.bins[1].least if len(found.bins) > 1 else found.bins[0].most + 1) or 1
    step = WIDE / len(found.bins)
    bars = [
        (round(at * step + 1, 1), round((1 - one.rows / most) * LOW, 1), round(step - 2, 1), one)
        for at, one in enumerate(found.bins)
    ]
    marks = [
        (name, length, round(min(length / width * step, WIDE), 1))
        for name, length in (("median", found.median), ("p95", found.p95))
    ]
    return Markup(
        render(
            "histogram", w, title=title, bars=bars, marks=marks, found=found, most=most, wide=WIDE, high=LOW,
            ends=found.bins[-1].most,
        )
    )  # fmt: skip


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    every = -(-len(points) // POINTS)
    return points[::-1][::every][::-1]

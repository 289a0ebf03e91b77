"""Curves of a training as inline SVG: a line for each kind of rows, on one scale.

Owns their drawing. Colours are the page's, so that one drawing fits light and dark. Knows no verdict and no language.
"""

from markupsafe import Markup

from ui.pages import render
from ui.words import Words

WIDE, HIGH = 600, 200
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


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    every = -(-len(points) // POINTS)
    return points[::-1][::every][::-1]

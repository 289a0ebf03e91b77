"""Plots of a report: one small bar chart for each metric, as inline SVG.

Owns their drawing. Colours are CSS variables of the page, so that one drawing fits light and dark;
no text of a user gets into a plot. Knows no verdict and no language.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from service.contract.evaluations import Contestant, Score

# Stand-ins that matplotlib accepts as colours, and what the page calls them.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--candidate)",
    "#050505": "var(--live)",
    "#060606": "var(--base)",
}
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_BARS: dict[Contestant, str] = {"candidate": "#040404", "live": "#050505", "base": "#060606"}
_INCHES = 3.5


def bar_plot(scores: Sequence[Score], labels: Sequence[str], described: str) -> str:
    """An `<svg>` of means (bars) with their 95 % intervals (whiskers), 0 to 100, a labelled bar each."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": described, "font.size": 9}
    with rc_context(style):
        figure = Figure(figsize=(_INCHES, 0.42 + 0.3 * len(scores)))
        figure.subplots_adjust(left=0.22, right=0.84, top=0.99, bottom=0.3 / figure.get_figheight())
        axes = figure.add_subplot()
        _draw(axes, scores, labels)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), described)


def _draw(axes: Any, scores: Sequence[Score], labels: Sequence[str]) -> None:
    for row, score in enumerate(scores):
        mean, low, high = (100 * value for value in (score.mean, score.low, score.high))
        axes.barh(row, mean, height=0.62, color=_BARS[score.contestant])
        axes.plot([low, high], [row, row], color=_INK, linewidth=1.1, solid_capstyle="butt")
        axes.plot([low, high], [row, row], color=_INK, marker="|", markersize=5, linewidth=0)
        axes.text(104, row, f"{mean:.0f} %", va="center", color=_INK, weight="bold")
    axes.set_yticks(range(len(scores)), labels)
    axes.set_ylim(len(scores) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.tick_params(length=0, colors=_MUTED)
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.grid(axis="x", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _inline(svg: str, described: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;\"]+", _font, svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    for stand_in, name in _COLOURS.items():
        svg = svg.replace(stand_in, name)
    label = described.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>",
        rf'<svg viewBox="\1" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">',
        svg,
        count=1,
        flags=re.DOTALL,
    )


def _font(match: re.Match[str]) -> str:
    """The page's own typeface in place of matplotlib's."""
    weight = "font-weight: 650; " if match.group(1) else ""
    return f"{weight}font-size: {match.group(2)}"

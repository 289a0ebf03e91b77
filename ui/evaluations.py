"""Evaluations as people read them: who answered better, by how much, and what the gate says.

Owns the wording of a result. The full report is the page that the evaluation wrote.
"""

from dataclasses import dataclass

from service.contract.evaluations import Evaluation, EvaluationReport
from ui.client import Gateway
from ui.pages import render
from ui.words import Words


@dataclass(frozen=True)
class Line:
    """One contestant's result on the deciding metric."""

    who: str
    mean: float
    low: float
    high: float


async def listing(gateway: Gateway, token: str, w: Words, assistant: str) -> str:
    """The evaluations of an assistant's releases as HTML, newest first."""
    found = await gateway.evaluations(token, assistant)
    news = {one.id: await _news(gateway, token, one) for one in found if one.status in ("queued", "running")}
    lines = {one.id: _lines(w, one, one.report) for one in found if one.report is not None}
    return render("evaluations", w, evaluations=found, lines=lines, news=news)


def metric_in_words(w: Words, name: str) -> str:
    return w(f"metric_{name}") if w.has(f"metric_{name}") else name


def _lines(w: Words, one: Evaluation, report: EvaluationReport) -> list[Line]:
    names = {
        "candidate": w("release_number", number=one.release_number), "live": w("live_now"), "base": w("base_model")
    }  # fmt: skip
    chosen = [s for s in report.scores if s.metric == report.primary and s.slice == "all"]
    order = {"candidate": 0, "live": 1, "base": 2}
    chosen.sort(key=lambda score: order[score.contestant])
    return [Line(names[s.contestant], s.mean, s.low, s.high) for s in chosen]


async def _news(gateway: Gateway, token: str, one: Evaluation) -> str:
    """The last thing that a running evaluation said."""
    events = await gateway.evaluation_events(token, one.id)
    return events[0].message if events else ""

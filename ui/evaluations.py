"""Evaluations as people read them: who answered better, by how much, and what the gate says.

Owns the wording of a result. The full report is the page that the evaluation wrote.
"""

from dataclasses import dataclass

from service.contract.evaluations import Evaluation, EvaluationReport
from service.contract.jobs import JobEvent
from ui.client import Gateway
from ui.events import said
from ui.gate import reasons
from ui.pages import render
from ui.words import Words


@dataclass(frozen=True)
class Line:
    """One contestant's result on the deciding metric."""

    who: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class News:
    """How far a running evaluation is."""

    said: str
    share: float


async def listing(gateway: Gateway, token: str, w: Words, assistant: str) -> str:
    """The evaluations of an assistant's releases as HTML, newest first."""
    found = await gateway.evaluations(token, assistant)
    news = {
        one.id: _news(w, await gateway.evaluation_events(token, one.id))
        for one in found
        if one.status in ("queued", "running")
    }
    lines = {one.id: _lines(w, one, one.report) for one in found if one.report is not None}
    why = {one.id: reasons(w, one.report.gate) for one in found if one.report is not None}
    return render("evaluations", w, evaluations=found, lines=lines, news=news, reasons=why)


def _lines(w: Words, one: Evaluation, report: EvaluationReport) -> list[Line]:
    names = {
        "candidate": w("release_number", number=one.release_number), "live": w("live_now"), "base": w("base_model")
    }  # fmt: skip
    chosen = [s for s in report.scores if s.metric == report.primary and s.slice == "all"]
    order = {"candidate": 0, "live": 1, "base": 2}
    chosen.sort(key=lambda score: order[score.contestant])
    return [Line(names[s.contestant], s.mean, s.low, s.high) for s in chosen]


def _news(w: Words, events: list[JobEvent]) -> News:
    """The last thing that a running evaluation said; `events` are newest first."""
    if not events:
        return News(w("job_queued_text"), 0.0)
    step, total = events[0].data.get("step"), events[0].data.get("total_steps")
    if step and total:
        return News(w("asked_of", step=step, total=total), min(1.0, step / total))
    return News(said(w, events[0])[0], 0.0)

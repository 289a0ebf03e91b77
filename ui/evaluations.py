"""Evaluations as people read them: who answered better, by how much, on which topics, and what the gate says.

Owns the wording and the order of a result; every figure is the report's. The full report is the page that the
evaluation wrote.
"""

from dataclasses import dataclass

from service.contract.evaluations import Change, Contestant, Difference, Evaluation, EvaluationReport, Gate
from service.contract.jobs import JobError, JobEvent
from ui.client import Gateway
from ui.events import said
from ui.failures import failure
from ui.gate import language_name, reasons
from ui.jobs import in_words
from ui.pages import render
from ui.words import Words

ORDER: tuple[Contestant, ...] = ("candidate", "live", "base")


@dataclass(frozen=True)
class Line:
    """One contestant's result on the deciding metric."""

    who: str
    mean: float
    low: float
    high: float
    failed: int


@dataclass(frozen=True)
class Moved:
    """How much better or worse than what answered before, in points of a hundred."""

    points: str
    low: str
    high: str
    clear: str
    """`better`, `worse`, or `unclear` where chance alone may explain it."""


@dataclass(frozen=True)
class Slice:
    """The questions of one topic or language."""

    name: str
    kind: str
    questions: int
    shares: list[tuple[str, float]]
    moved: Moved | None


@dataclass(frozen=True)
class Close:
    """What the newest evaluation of a release shows beyond its figures."""

    slices: list[Slice]
    against: str
    """What the changes are measured against; empty when the candidate stood alone."""
    worse: list[Change]
    better: list[Change]
    earlier: bool
    """Whether answers changed that the report, made by an earlier version, does not hold."""


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
    releases = await gateway.releases(token, assistant) if found else []
    gates = {one.evaluation: one.gate for one in releases if one.evaluation and one.gate}
    return drawn(w, found, news, gates)


def drawn(w: Words, evaluations: list[Evaluation], news: dict[str, News], gates: dict[str, Gate]) -> str:
    """Evaluations, newest first, as HTML: the newest of each release also by topic and by what changed.

    `gates` are what the releases' newest evaluations are worth now, by the evaluation's id: a pass that is outdated
    is not shown as one.
    """
    measured = [(one, one.report) for one in evaluations if one.report is not None]
    newest = {one.release: one.id for one, _ in reversed(measured)}
    lines = {one.id: _lines(w, one, report) for one, report in measured}
    near = {one.id: close(w, one, report) for one, report in measured if newest[one.release] == one.id}
    known = {one.id: names(w, one) for one in evaluations}
    now = {one.id: gates.get(one.id, report.gate) for one, report in measured}
    why = {id_: reasons(w, gate) for id_, gate in now.items()}
    errors = {
        one.id: one.coded_error or JobError(code="", message=one.error) for one in evaluations if one.error
    }
    failures = {id_: (error, failure(w, error)) for id_, error in errors.items()}
    return render(
        "evaluations", w, failures=failures, evaluations=evaluations, lines=lines, news=news, close=near, names=known,
        gates=now, reasons=why, first=measured[0][0].id if measured else "",
    )  # fmt: skip


def names(w: Words, one: Evaluation) -> dict[Contestant, str]:
    """What each contestant is called."""
    return {
        "candidate": w("release_number", number=one.release_number), "live": w("live_now"), "base": w("base_model")
    }  # fmt: skip


def _lines(w: Words, one: Evaluation, report: EvaluationReport) -> list[Line]:
    known = names(w, one)
    chosen = [s for s in report.scores if s.metric == report.primary and s.slice == "all"]
    chosen.sort(key=lambda score: ORDER.index(score.contestant))
    return [Line(known[s.contestant], s.mean, s.low, s.high, s.failed) for s in chosen]


def close(w: Words, one: Evaluation, report: EvaluationReport) -> Close:
    """What one evaluation shows beyond its figures."""
    measured = {difference.against for difference in report.differences}
    rival: Contestant | None = next((who for who in ORDER if who in measured), None)
    changes = report.changes
    return Close(
        slices=_slices(w, one, report, rival),
        against=rival or "",
        worse=[change for change in changes if change.score_now < change.score_before],
        better=[change for change in changes if change.score_now > change.score_before],
        earlier=not changes and bool(report.examples_better or report.examples_worse),
    )


def _slices(w: Words, one: Evaluation, report: EvaluationReport, rival: Contestant | None) -> list[Slice]:
    """The worst change first; where nothing was compared, the weakest first."""
    known, found = names(w, one), []
    for part in dict.fromkeys(score.slice for score in report.scores if score.slice != "all"):
        scores = [s for s in report.scores if s.slice == part and s.metric == report.primary]
        scores.sort(key=lambda score: ORDER.index(score.contestant))
        if not scores:
            continue
        kind, _, value = part.partition(":")
        difference = next(
            (d for d in report.differences
             if d.slice == part and d.metric == report.primary and d.against == rival), None
        )  # fmt: skip
        name = language_name(w, value) if kind == "language" else value
        shares = [(known[score.contestant], score.mean) for score in scores]
        moved = _moved(difference) if difference else None
        shown = Slice(name, kind, scores[0].cases, shares, moved)
        found.append((difference.mean if difference else scores[0].mean, part, shown))
    return [shown for _, _, shown in sorted(found, key=lambda item: item[:2])]


def _moved(difference: Difference) -> Moved:
    clear = "better" if difference.low > 0 else "worse" if difference.high < 0 else "unclear"
    return Moved(_points(difference.mean), _points(difference.low), _points(difference.high), clear)


def _points(share: float) -> str:
    """A difference in points of a hundred, with its sign."""
    whole = round(share * 100)
    return f"+{whole}" if whole > 0 else f"\N{MINUS SIGN}{-whole}" if whole < 0 else "0"


def _news(w: Words, events: list[JobEvent]) -> News:
    """The last thing that a running evaluation said, and how far the asking is; `events` are newest first."""
    if not events:
        return News(w("job_queued_text"), 0.0)
    asked = next((one.data for one in events if one.data.get("step") and one.data.get("total_steps")), None)
    share = min(1.0, asked["step"] / asked["total_steps"]) if asked else 0.0
    if asked is None or asked is not events[0].data:
        return News(said(w, events[0])[0], share)
    told = w("asked_of", step=asked["step"], total=asked["total_steps"])
    left = asked.get("seconds_left")
    return News(f"{told} · {w('time_left', time=in_words(w, left))}" if left else told, share)

"""The report for people: one self-contained page, the verdict first.

Owns what is shown; the template `report.html` beside this file and `report.css` own how it looks. Every
text of a user is escaped by the template engine, and the page forbids itself scripts and any fetch.
Knows no rule of the gate.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import faults
from evals.cases import question_of
from evals.comparison import rival_of
from evals.metrics import Metric, facts_found
from evals.phrases import Phrases, phrases
from evals.plots import bar_plot
from evals.ragas_metrics import STRING_METRICS
from evals.reasons import said
from evals.scoring import Scoreboard
from service.contract.evaluations import (
    Answer,
    Case,
    Contestant,
    Difference,
    EvaluationReport,
    EvaluationSpec,
    Score,
)

SHOWN = 5
"""At most so many examples of each kind on the page."""
SHOWN_FAILED = 20


@dataclass(frozen=True)
class Shown:
    """One answer beside its case: which of the facts it states, and its primary score."""

    who: Contestant
    answer: Answer
    facts: list[tuple[str, bool]]
    score: float


@dataclass(frozen=True)
class Example:
    case: Case
    question: str
    answers: list[Shown]


@dataclass(frozen=True)
class Part:
    """One row of the table of slices."""

    name: str
    kind: str
    scores: list[Score]
    difference: Difference | None


def page(spec: EvaluationSpec, board: Scoreboard, report: EvaluationReport, language: str = "en") -> str:
    """The whole HTML page of one evaluation, for a reader of this language."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    say = phrases(language)

    def percent(share: float) -> str:
        return _tidy(say.percent(share))

    environment.filters |= {
        "points": say.points, "size": say.size, "decimals": say.decimals, "language_name": say.language_name,
        "tidy": _tidy, "percent": percent,
    }  # fmt: skip
    return environment.get_template("report.html").render(_shown(say, spec, board, report))


def _shown(say: Phrases, spec: EvaluationSpec, board: Scoreboard, report: EvaluationReport) -> dict[str, Any]:
    from markupsafe import Markup

    rival = rival_of(board)
    primary = next(metric for metric in board.metrics if metric.name == report.primary)
    overall = [one for one in report.differences if one.slice == "all"]
    failures = _failures(say, board)
    return {
        "spec": spec,
        "report": report,
        "language": say.language,
        "t": lambda sentence, **values: Markup(say.pattern(sentence)).format(**values),
        "fault": lambda answer: faults.why(say, answer),
        "label": say.label,
        "name": say.name,
        "reasons": [said(say, one, primary.title) for one in report.gate.coded],
        "rival": rival,
        "primary": primary,
        "headline": _headline(report, rival),
        "tally": _tally(board, report, primary) if rival else None,
        "main_scores": _scores(report, primary.name, "all"),
        "plots": [(metric, _plot(say, report, metric)) for metric in board.metrics if not _is_second(metric)],
        "second_plots": [
            (metric, _plot(say, report, metric)) for metric in board.metrics if _is_second(metric)
        ],
        "parts": _parts(report, primary, rival),
        "better": _examples(board, report.examples_better, primary, rival),
        "worse": _examples(board, report.examples_worse, primary, rival),
        "failures": failures[:SHOWN_FAILED],
        "failure_count": len(failures),
        "metrics": {metric.name: metric for metric in board.metrics},
        "overall_scores": [one for one in report.scores if one.slice == "all"],
        "overall_differences": overall,
        "covered": len(board.rows(primary)),
        "answered_by": _answered_by(board, report),
        "same_adapter": _same_adapter(board, rival),
    }


def _tidy(sentence: str) -> str:
    """Keeps a figure and its sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _is_second(metric: Metric) -> bool:
    return metric in STRING_METRICS


def _headline(report: EvaluationReport, rival: Contestant | None) -> str:
    if report.gate.verdict == "hold":
        return "This candidate should not go live yet"
    difference = next(
        one
        for one in report.differences
        if one.metric == report.primary and one.against == rival and one.slice == "all"
    )
    if difference.low > 0:
        return "Better than what answers today"
    return "As good as what answers today"


def _tally(board: Scoreboard, report: EvaluationReport, primary: Metric) -> dict[str, int]:
    same = len(board.rows(primary)) - report.better - report.worse
    return {"better": report.better, "same": same, "worse": report.worse}


def _scores(report: EvaluationReport, metric: str, part: str) -> list[Score]:
    return [one for one in report.scores if one.metric == metric and one.slice == part]


def _plot(say: Phrases, report: EvaluationReport, metric: Metric) -> str:
    scores = _scores(report, metric.name, "all")
    told = ", ".join(f"{say.label(one.contestant)} {say.percent(one.mean)}" for one in scores)
    labels = [say.label(one.contestant) for one in scores]
    return bar_plot(scores, labels, f"{say(metric.title)}{say(':')} {told}")


def _parts(report: EvaluationReport, primary: Metric, rival: Contestant | None) -> list[Part]:
    """Languages and topics, the worst difference first; without a rival the worst score first."""
    found: list[Part] = []
    for name in dict.fromkeys(one.slice for one in report.scores if one.slice != "all"):
        kind, _, value = name.partition(":")
        difference = next(
            (one for one in report.differences if one.slice == name and one.against == rival), None
        )
        found.append(Part(value, kind, _scores(report, primary.name, name), difference))
    return sorted(found, key=lambda part: part.difference.mean if part.difference else part.scores[0].mean)


def _examples(board: Scoreboard, ids: list[str], primary: Metric, rival: Contestant | None) -> list[Example]:
    if rival is None:
        return []
    positions = {str(case.id): at for at, case in enumerate(board.cases)}
    shown: list[Example] = []
    for identity in ids[:SHOWN]:
        at = positions[identity]
        case = board.cases[at]
        sides: tuple[Contestant, ...] = ("candidate", rival)
        answers = [_side(board.answers[who][at], who, case, primary) for who in sides]
        shown.append(Example(case, question_of(case), answers))
    return shown


def _side(answer: Answer, who: Contestant, case: Case, primary: Metric) -> Shown:
    wordings = [fact if isinstance(fact, str) else " / ".join(fact) for fact in case.facts]
    facts = list(zip(wordings, facts_found(answer.text, case.facts), strict=True))
    return Shown(who, answer, facts, answer.scores.get(primary.name, 0.0))


def _failures(say: Phrases, board: Scoreboard) -> list[tuple[str, str, str]]:
    """Who, which question, why: of every question without a valid answer, and of every broken score."""
    questions = {str(case.id): question_of(case) for case in board.cases}
    unanswered: list[tuple[str, str, str]] = [
        (who, questions[answer.case], faults.why(say, answer))
        for who, theirs in board.answers.items()
        for answer in theirs
        if answer.error is not None
    ]
    broken = [
        (who, questions[case], faults.told(say, faults.fault("broken", metric=metric)))
        for who, case, metric in sorted(board.broken)
    ]
    return unanswered + broken


def _answered_by(board: Scoreboard, report: EvaluationReport) -> list[dict[str, Any]]:
    rows = []
    for who, theirs in board.answers.items():
        valid = [answer for answer in theirs if answer.error is None]
        rows.append(
            {
                "who": who,
                "adapters": list(Counter(answer.adapter for answer in valid)),
                "cut": sum(answer.finish_reason == "length" for answer in valid),
                "empty": sum(not answer.text.strip() for answer in valid),
                "words": report.words.get(who, 0),
            }
        )
    return rows


def _same_adapter(board: Scoreboard, rival: Contestant | None) -> bool:
    if rival is None:
        return False
    seen = [
        {answer.adapter for answer in board.answers[who] if answer.error is None}
        for who in ("candidate", rival)
    ]
    return seen[0] == seen[1] and len(seen[0]) == 1

"""Answers become scores: every metric that a case allows, for every contestant.

Owns the rule that nothing leaves the denominator: which cases count for a metric is decided by the
cases, and a failed question or a failed metric is the worst score, 0. Knows no interval and no gate.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evals.answers import Answers
from evals.metrics import METRICS, Metric
from evals.ragas_metrics import RagasMetrics
from evals.refusal import Refused
from evals.statistics import Values
from service.contract.evaluations import Answer, Case, Contestant

WORST = 0.0


@dataclass
class Scoreboard:
    """The scores of all contestants on the planned cases. `answers` carry their own as well."""

    cases: list[Case]
    answers: Answers
    metrics: list[Metric]
    """Those that apply to at least one planned case."""
    broken: set[tuple[Contestant, str, str]] = field(default_factory=set)
    """Contestant, case id and metric name of each score that could not be computed."""

    def rows(self, metric: Metric, part: str = "all") -> list[int]:
        """Positions of the planned cases that count for `metric` within a slice (`language:fr`)."""
        return [at for at, case in enumerate(self.cases) if metric.applies(case) and part in slices_of(case)]

    def values(self, who: Contestant, metric: Metric, rows: Sequence[int]) -> Values:
        return np.array([self.answers[who][at].scores[metric.name] for at in rows], dtype=np.float64)

    def failed(self, who: Contestant, metric: Metric, rows: Sequence[int]) -> int:
        """How many of these scores are worst because the question or the metric failed."""
        return sum(
            self.answers[who][at].error is not None
            or (who, str(self.cases[at].id), metric.name) in self.broken
            for at in rows
        )


def slices_of(case: Case) -> tuple[str, str, str]:
    return "all", f"language:{case.language}", f"topic:{case.topic}"


def plan(cases: list[Case], extra: Sequence[Metric]) -> list[Metric]:
    """The metrics that at least one case allows, in the order of `METRICS`, then ragas'."""
    return [metric for metric in (*METRICS, *extra) if any(map(metric.applies, cases))]


def primary_of(wanted: str, metrics: Sequence[Metric]) -> Metric:
    """The metric that decides: the wanted one; where no case allows it chrF, else facts.

    Raises `Refused` for a name that is no metric of this evaluation or one that is only reported.
    """
    known = {metric.name: metric for metric in metrics if metric.gated}
    if wanted in known:
        return known[wanted]
    if wanted in {metric.name for metric in METRICS if metric.gated}:
        return known.get("chrf") or known["fact_recall"]
    raise Refused(
        "unknown_metric",
        f"'{wanted}' cannot decide this evaluation. Choose one of: {', '.join(sorted(known))}.",
        "primary",
    )


async def score_all(
    cases: list[Case], answers: Answers, metrics: list[Metric], ragas: RagasMetrics, at_once: int
) -> Scoreboard:
    """Fill in the `scores` of every answer; the judge, if there is one, is asked `at_once` at a time."""
    board = Scoreboard(cases, answers, metrics)
    limit = asyncio.Semaphore(at_once)

    async def one(answer: Answer, case: Case) -> None:
        async with limit:
            for metric in metrics:
                if metric.applies(case):
                    answer.scores[metric.name] = await _score(board, metric, answer, case, ragas)

    async with asyncio.TaskGroup() as group:
        for theirs in answers.values():
            for answer, case in zip(theirs, cases, strict=True):
                group.create_task(one(answer, case))
    return board


async def _score(board: Scoreboard, metric: Metric, answer: Answer, case: Case, ragas: RagasMetrics) -> float:
    if answer.error is not None:
        return WORST
    if metric.score is not None:
        return metric.score(answer.text, case)
    value = await ragas.score(metric.name, answer.text, case)
    if value is None:
        board.broken.add((answer.contestant, str(case.id), metric.name))
        return WORST
    return value

"""Scores become figures with intervals: means, paired differences, slices, and the cases that changed.

Owns what is compared with what. Knows no verdict and no page.
"""

import numpy as np

from evals.metrics import Metric
from evals.scoring import Scoreboard, slices_of
from evals.statistics import Values, bootstrap, interval_of
from service.contract.evaluations import Answer, Contestant, Difference, Score

EXAMPLES = 20
"""At most so many cases are named as better, and as worse."""


def rival_of(board: Scoreboard) -> Contestant | None:
    """Whom the candidate is measured against: the live release, or the base when that is what is live."""
    live = board.answers.get("live")
    if live is not None and ("base" not in board.answers or not _is_base(live)):
        return "live"
    return "base" if "base" in board.answers else None


def all_scores(board: Scoreboard, primary: Metric, seed: int) -> list[Score]:
    """Every metric over all cases, and the primary one over every language and topic."""
    parts = [(metric, "all") for metric in board.metrics] + [
        (primary, part) for part in slices(board, primary)
    ]
    return [_score(board, who, metric, part, seed) for metric, part in parts for who in board.answers]


def all_differences(board: Scoreboard, primary: Metric, seed: int) -> list[Difference]:
    """Candidate minus each other contestant: every metric over all cases, the primary one by slice too."""
    parts = [(metric, "all") for metric in board.metrics] + [
        (primary, part) for part in slices(board, primary)
    ]
    others: list[Contestant] = [who for who in board.answers if who != "candidate"]
    return [_difference(board, who, metric, part, seed) for metric, part in parts for who in others]


def slices(board: Scoreboard, metric: Metric) -> list[str]:
    """The languages, then the topics, of the cases that count for `metric`."""
    found = {part for at in board.rows(metric) for part in slices_of(board.cases[at])[1:]}
    return sorted(found)


def paired(board: Scoreboard, against: Contestant, metric: Metric, part: str = "all") -> Values:
    """Candidate minus `against`, one value for each case of the slice that counts for `metric`."""
    rows = board.rows(metric, part)
    return board.values("candidate", metric, rows) - board.values(against, metric, rows)


def changed(board: Scoreboard, against: Contestant, primary: Metric) -> tuple[list[str], list[str]]:
    """Ids of the cases that the candidate answers better and worse, the largest change first.

    Cases alike on the primary metric are told apart by chrF, as far as they have it, at a twentieth.
    """
    rows = board.rows(primary)
    change = paired(board, against, primary)
    finer = np.array(
        [_chrf(board.answers["candidate"][at]) - _chrf(board.answers[against][at]) for at in rows]
    )
    ids = [str(board.cases[at].id) for at in rows]
    order = np.argsort(-(change + finer / 20), kind="stable")
    better = [ids[at] for at in order if change[at] > 0]
    worse = [ids[at] for at in order[::-1] if change[at] < 0]
    return better[:EXAMPLES], worse[:EXAMPLES]


def _is_base(answers: list[Answer]) -> bool:
    return {answer.adapter for answer in answers if answer.error is None} == {"base"}


def _chrf(answer: Answer) -> float:
    return answer.scores.get("chrf", 0.0)


def _score(board: Scoreboard, who: Contestant, metric: Metric, part: str, seed: int) -> Score:
    rows = board.rows(metric, part)
    interval = interval_of(board.values(who, metric, rows), seed)
    return Score(
        metric=metric.name,
        contestant=who,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        cases=len(rows),
        failed=board.failed(who, metric, rows),
        slice=part,
    )


def _difference(board: Scoreboard, against: Contestant, metric: Metric, part: str, seed: int) -> Difference:
    values = paired(board, against, metric, part)
    interval = bootstrap(values, seed)
    return Difference(
        metric=metric.name,
        against=against,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        cases=len(values),
        slice=part,
    )

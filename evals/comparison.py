"""Scores become figures with intervals: means, paired differences, slices, and the cases that changed.

Owns what is compared with what. Knows no verdict and no page.
"""

import numpy as np

from evals.cases import question_of
from evals.metrics import Metric
from evals.scoring import Scoreboard, slices_of
from evals.statistics import Values, bootstrap, interval_of
from service.contract.evaluations import Answer, Change, Contestant, Difference, Score

EXAMPLES = 20
"""At most so many cases are named as better, and as worse."""
TOLD = 5
"""Of those, so many are told with their texts: they travel with every list of evaluations."""
LONGEST = 1500
"""Characters of a question or an answer that is told."""


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


def told(
    board: Scoreboard, against: Contestant, primary: Metric, better: list[str], worse: list[str]
) -> list[Change]:
    """The first of the cases that `changed` named with both answers: the worst first, then the best."""
    positions = {str(case.id): at for at, case in enumerate(board.cases)}
    return [_change(board, against, primary, positions[id_]) for ids in (worse, better) for id_ in ids[:TOLD]]


def _change(board: Scoreboard, against: Contestant, primary: Metric, at: int) -> Change:
    case, before, now = board.cases[at], board.answers[against][at], board.answers["candidate"][at]
    return Change(
        case=str(case.id),
        question=_cut(question_of(case)),
        language=case.language,
        topic=case.topic,
        against=against,
        before=None if before.error is not None else _cut(before.text),
        now=None if now.error is not None else _cut(now.text),
        score_before=before.scores[primary.name],
        score_now=now.scores[primary.name],
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + "…"


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

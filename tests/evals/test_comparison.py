import asyncio

import numpy as np
import pytest

from evals.comparison import all_differences, all_scores, changed, rival_of, told
from evals.metrics import METRICS
from evals.ragas_metrics import RagasMetrics
from evals.refusal import Refused
from evals.scoring import plan, primary_of, score_all
from service.contract.evaluations import Answer, Case, Contestant
from tests.evals.runs import fact_recall, scoreboard


def test_a_failed_question_counts_as_the_worst_score_and_stays_in_the_denominator() -> None:
    board = scoreboard({"candidate": [1.0] * 10, "live": [1.0] * 10}, failed={"candidate": [3, 4]})
    candidate = next(one for one in all_scores(board, fact_recall(), 0) if one.contestant == "candidate")
    assert (candidate.mean, candidate.cases, candidate.failed) == (0.8, 10, 2)


def test_the_same_answers_twice_show_no_difference() -> None:
    scores = list(np.random.default_rng(0).uniform(0, 1, 50))
    board = scoreboard({"candidate": scores, "live": list(scores), "base": [0.0] * 50})
    same = next(one for one in all_differences(board, fact_recall(), 0) if one.against == "live")
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    assert changed(board, "live", fact_recall()) == ([], [])


def test_a_difference_is_paired_and_so_narrower_than_two_separate_intervals() -> None:
    random = np.random.default_rng(5)
    live = random.uniform(0, 0.9, 60)
    board = scoreboard({"candidate": list(live + 0.1), "live": list(live)})
    found = all_differences(board, fact_recall(), 0)[0]
    alone = all_scores(board, fact_recall(), 0)[0]
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.low < 0.01 < alone.high - alone.low


def test_slices_hold_their_own_cases_only() -> None:
    board = scoreboard({"candidate": [1, 1, 0, 0], "live": [0, 0, 1, 1]}, languages=["en", "en", "fr", "fr"])
    found = {one.slice: (one.mean, one.cases) for one in all_differences(board, fact_recall(), 0)}
    assert found["language:en"] == (1.0, 2)
    assert found["language:fr"] == (-1.0, 2)
    assert found["all"] == (0.0, 4)


def test_the_largest_changes_are_named_first() -> None:
    board = scoreboard({"candidate": [0.5, 1.0, 0.2, 0.0], "live": [0.4, 0.1, 0.4, 1.0]})
    assert changed(board, "live", fact_recall()) == (["case-1", "case-0"], ["case-3", "case-2"])


def test_what_changed_most_is_told_with_both_answers_the_worst_first() -> None:
    board = scoreboard(
        {"candidate": [1.0] * 7 + [0.2, 0.0], "live": [0.0] * 7 + [1.0, 1.0]}, failed={"candidate": [8]}
    )
    board.answers["candidate"][7].text = "long " * 1000
    found = told(board, "live", fact_recall(), *changed(board, "live", fact_recall()))
    assert [one.case for one in found[:2]] == ["case-8", "case-7"]
    assert [one.score_now > one.score_before for one in found] == [False] * 2 + [True] * 5
    assert (found[0].now, found[0].before) == (None, "some answer")
    assert (found[0].score_now, found[0].score_before, found[0].against) == (0.0, 1.0, "live")
    assert (found[1].question, found[1].language, found[1].topic) == ("question 7", "en", "general")
    assert str(found[1].now).endswith("long…")
    assert len(str(found[1].now)) < 1600


def test_the_base_is_the_rival_when_it_is_what_is_live() -> None:
    scores: dict[Contestant, list[float]] = {"candidate": [1.0], "live": [0.0], "base": [0.0]}
    assert rival_of(scoreboard(scores)) == "live"
    assert rival_of(scoreboard(scores, adapters={"live": "base"})) == "base"
    assert rival_of(scoreboard({"candidate": [1.0], "base": [0.0]})) == "base"
    assert rival_of(scoreboard({"candidate": [1.0]})) is None


def test_a_metric_counts_the_planned_cases_that_allow_it() -> None:
    cases = [
        Case(id="a", question="A?", facts=["12"]),
        Case(id="b", question="B?", reference="Yes."),
        Case(id="c", question="C?", facts=["13"]),
    ]
    answers = [
        Answer(case="a", contestant="candidate", text="12"),
        Answer(case="b", contestant="candidate", text="Yes."),
        Answer(case="c", contestant="candidate", text="", error="no answer"),
    ]
    metrics = [metric for metric in plan(cases, ()) if metric.name in ("fact_recall", "exact_match")]
    ragas = RagasMetrics(None, None, 1.0)
    board = asyncio.run(score_all(cases, {"candidate": answers}, metrics, ragas, 2))
    found = {
        one.metric: (one.mean, one.cases, one.failed)
        for one in all_scores(board, metrics[0], 0)
        if one.slice == "all"
    }
    assert found == {"fact_recall": (0.5, 2, 1), "exact_match": (1.0, 1, 0)}


def test_chrf_decides_when_no_case_has_facts() -> None:
    references = plan([Case(question="Q?", reference="R")], ())
    facts = plan([Case(question="Q?", facts=["f"])], ())
    assert primary_of("fact_recall", references).name == "chrf"
    assert primary_of("fact_recall", facts).name == "fact_recall"
    assert primary_of("chrf", facts).name == "fact_recall"
    for no_decider in ("length_ratio", "vibes"):
        with pytest.raises(Refused, match="cannot decide"):
            primary_of(no_decider, METRICS)

import re

import pytest

from evals.gate import Evidence, decide
from service.contract.evaluations import Contestant, Difference


def difference(
    mean: float, low: float, high: float, *, against: Contestant = "live", cases: int = 40, part: str = "all"
) -> Difference:
    return Difference(
        metric="fact_recall", against=against, mean=mean, low=low, high=high, cases=cases, slice=part
    )


def evidence(overall: Difference | None, **more) -> Evidence:
    planned = overall.cases if overall else 40
    return Evidence(
        **{"title": "Facts stated", "margin": 0.03, "planned": planned, "failed": 0} | more, overall=overall
    )


@pytest.mark.parametrize(
    ("against", "mean", "low", "high", "verdict"),
    [
        ("live", 0.10, 0.02, 0.18, "pass"),
        ("live", 0.00, 0.00, 0.00, "pass"),
        ("live", 0.00, -0.03, 0.03, "pass"),
        ("live", -0.02, -0.029, -0.011, "pass"),
        ("live", 0.00, -0.031, 0.04, "hold"),
        ("live", -0.20, -0.30, -0.10, "hold"),
        ("base", 0.10, 0.02, 0.18, "pass"),
        ("base", 0.00, 0.00, 0.00, "hold"),
        ("base", 0.05, -0.01, 0.11, "hold"),
        ("base", -0.20, -0.30, -0.10, "hold"),
    ],
)
def test_the_verdict_follows_the_interval(
    against: Contestant, mean: float, low: float, high: float, verdict: str
) -> None:
    assert decide(evidence(difference(mean, low, high, against=against))).verdict == verdict


def test_a_candidate_that_was_taught_a_question_is_held_however_well_it_answers() -> None:
    gate = decide(evidence(difference(0.5, 0.4, 0.6), learned=3))
    assert gate.verdict == "hold"
    assert gate.reasons[0].startswith("Of the 40 questions the candidate was taught 3")
    assert gate.coded[0].values == {"learned": 3, "planned": 40}


def test_a_failed_question_holds_the_best_candidate_and_comes_first() -> None:
    gate = decide(evidence(difference(0.5, 0.4, 0.6), failed=1))
    assert gate.verdict == "hold"
    assert gate.reasons[0].startswith("1 of the 40 planned questions got no valid answer")


def test_a_rivals_failures_hold_as_well_for_they_flatter_the_candidate() -> None:
    gate = decide(evidence(difference(0.5, 0.4, 0.6), rival_failed=7))
    assert gate.verdict == "hold"
    assert "7 of the 40" in gate.reasons[0]
    assert "the live release" in gate.reasons[0]


def test_five_clean_wins_may_be_chance_and_six_are_not() -> None:
    five = decide(evidence(difference(1.0, 1.0, 1.0, against="base", cases=5)))
    six = decide(evidence(difference(1.0, 1.0, 1.0, against="base", cases=6)))
    assert (five.verdict, six.verdict) == ("hold", "pass")
    assert "Only 5 questions" in five.reasons[0]


def test_a_language_may_not_pay_for_the_average() -> None:
    overall = difference(0.05, 0.01, 0.09)
    french = difference(-0.2, -0.4, 0.0, cases=10, part="language:fr")
    gate = decide(evidence(overall, languages=(french,)))
    assert gate.verdict == "hold"
    assert gate.reasons[0].startswith("In French (10 questions) the candidate is 20 points worse")


def test_a_language_of_few_questions_or_a_small_loss_does_not_hold() -> None:
    overall = difference(0.05, 0.01, 0.09)
    few = difference(-0.2, -0.4, 0.0, cases=9, part="language:fr")
    small = difference(-0.06, -0.2, 0.1, cases=30, part="language:de")
    assert decide(evidence(overall, languages=(few, small))).verdict == "pass"


def test_too_wide_an_interval_says_how_many_questions_would_settle_it() -> None:
    gate = decide(evidence(difference(0.01, -0.1, 0.12), deviation=0.35))
    assert gate.verdict == "hold"
    # (1.96 * 0.35 / (0.01 + 0.03))² = 294.1
    assert "About 295 questions" in gate.reasons[0]


def test_a_mean_below_the_margin_is_not_helped_by_more_questions() -> None:
    gate = decide(evidence(difference(-0.05, -0.12, 0.02), deviation=0.35))
    assert "More questions of this kind would not change that" in gate.reasons[0]


def test_nothing_to_compare_with_holds() -> None:
    assert decide(evidence(None)).verdict == "hold"


def test_every_reason_is_a_full_sentence_with_the_figures() -> None:
    for overall in (difference(0.1, 0.02, 0.18), difference(-0.2, -0.3, -0.1), difference(0, -0.2, 0.2)):
        for reason in decide(evidence(overall, candidate=0.8, rival=0.7, deviation=0.4)).reasons:
            assert re.fullmatch(r"[A-Z0-9].*\.", reason)
    passed = decide(evidence(difference(0.1, 0.02, 0.18), candidate=0.8, rival=0.7)).reasons[0]
    assert passed == (
        "On 'Facts stated' the candidate scores 80 % and the live release 70 %: "
        "+10 points (95 % interval +2 to +18, 40 questions)."
    )

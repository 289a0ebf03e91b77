from typing import Any, get_args

import pytest

from evals.gate import Evidence, decide
from service.contract.evaluations import Contestant, Difference, Gate, GateCode
from ui.gate import reasons
from ui.words import words

EN, FR = words("en"), words("fr")


def difference(mean: float, low: float, high: float, against: Contestant = "live", **more: Any) -> Difference:
    fields: dict[str, Any] = {"metric": "fact_recall", "cases": 40, "slice": "all"} | more
    return Difference(against=against, mean=mean, low=low, high=high, **fields)


def gate(overall: Difference | None, **more: Any) -> Gate:
    fields: dict[str, Any] = {"title": "Facts stated", "margin": 0.03, "planned": 40, "failed": 0} | more
    return decide(Evidence(**fields, overall=overall))


EVERY = [
    gate(None),
    gate(difference(0.1, 0.02, 0.18), candidate=0.8125, rival=0.7, failed=1, rival_failed=2),
    gate(difference(1.0, 1.0, 1.0, cases=1)),
    gate(difference(-0.2, -0.3, -0.1)),
    gate(difference(0.01, -0.1, 0.12), deviation=0.35),
    gate(difference(-0.05, -0.12, 0.02), deviation=0.35),
    gate(difference(0.0, -0.04, 0.04), deviation=0.01),
    gate(difference(-0.2, -0.3, -0.1, "base")),
    gate(difference(0.05, -0.01, 0.11, "base"), deviation=0.2),
    gate(difference(0.1, 0.02, 0.18), languages=(difference(-0.2, -0.4, 0.0, slice="language:de"),)),
    gate(difference(0.1, 0.02, 0.18)),
    gate(difference(0.0, -0.02, 0.02)),
    gate(difference(-0.02, -0.029, -0.011)),
    gate(difference(0.1, 0.02, 0.18), learned=2),
]


def test_every_reason_of_the_gate_is_said_in_both_languages():
    assert {one.code for told in EVERY for one in told.coded} == set(get_args(GateCode))
    for told in EVERY:
        # What the service stores comes back through JSON.
        found = Gate.model_validate_json(told.model_dump_json())
        for w in (EN, FR):
            said = reasons(w, found)
            assert [ours for _, ours in said] == [True] * len(told.reasons)
        assert not {sentence for sentence, _ in reasons(FR, found)} & set(told.reasons)


def test_the_figures_are_those_of_the_sentence_as_each_language_writes_them():
    told = gate(difference(0.125, 0.02, 0.18), candidate=0.8125, rival=0.6875)
    assert reasons(EN, told)[0][0] == (
        "The candidate scores 81.2%, the live release 68.8%: +12.5 points (95% interval: +2 to +18; 40 questions)."
    )
    assert "81,2\u00a0%, la version en service 68,8\u00a0%" in reasons(FR, told)[0][0]
    assert "+12,5 points" in reasons(FR, told)[0][0]
    lost = reasons(EN, gate(difference(-0.2, -0.3, -0.1)))[0][0]
    assert "\N{MINUS SIGN}20 points" in lost
    assert "at most 3 points" in lost


@pytest.mark.parametrize("w", [EN, FR])
def test_what_more_questions_would_settle_is_said(w: Any):
    many, useless, few = (reasons(w, EVERY[at])[0][0] for at in (4, 5, 6))
    assert many.endswith(w("gate_more_many", n=295))
    assert useless.endswith(w("gate_more_useless"))
    assert few.endswith(w("gate_more_few"))


def test_a_report_from_before_the_codes_is_read_as_it_was_written():
    assert reasons(FR, Gate(verdict="hold", reasons=["It is held."])) == [("It is held.", False)]

import string
from typing import Any, get_args

import pytest

from service.contract.jobs import ChosenCode, EventCode, JobEvent
from service.domain.hyperparameters import because
from ui.events import reason, said
from ui.words import LANGUAGES, words

EN, FR = words("en"), words("fr")


def event(message: str, **data: Any) -> JobEvent:
    return JobEvent(id="e", created_at=1, level="info", message=message, type="message", data=data)


def values_of(code: str) -> dict[str, Any]:
    fields = string.Formatter().parse(LANGUAGES["en"][f"event_{code}"])
    known: dict[str, Any] = {
        "choices": {"beta": {"value": 0.1, "code": "beta_dpo", "values": {}}}, "finding": "longer_answers",
        "who": "candidate live", "metric": "fact_recall",
    }  # fmt: skip
    named = {name: known.get(name, 3) for _, name, _, _ in fields if name}
    if code == "round_finding":
        return named | {"ratio": 3.4, "share": 90, "agreement": 50, "stale": 60, "left": 70}
    return named if code != "chosen" else {"chosen": named["choices"]}


@pytest.mark.parametrize("code", [code for code in get_args(EventCode) if code != "failed"])
def test_every_message_with_a_code_is_said_in_both_languages(code: str):
    for w in (EN, FR):
        sentence, ours = said(w, event("as sent", code=code, **values_of(code)))
        assert ours
        assert "{" not in sentence
    assert said(EN, event("", code=code, **values_of(code))) != said(
        FR, event("", code=code, **values_of(code))
    )


@pytest.mark.parametrize("code", get_args(ChosenCode))
def test_every_reason_of_a_setting_is_said_in_both_languages(code: ChosenCode):
    values: dict[str, int | float] = {
        "rows": 3,
        "rate": 0.00025,
        "held_out": 4,
        "rank": 16,
        "every": 4,
        "most": 64,
        "processes": 3,
    }
    chosen = {"beta": {"value": 0.1, "code": code, "values": values}}
    for w in (EN, FR):
        sentence, ours = said(w, event("as sent", code="chosen", chosen=chosen))
        assert ours
        assert w("setting_beta") in sentence
        assert "{" not in sentence
        assert sentence.endswith(reason(w, because(code, **values), "")[0])
    assert "Beta = 0.1" not in said(FR, event("", code="chosen", chosen=chosen))[0]
    assert "0,1" in said(FR, event("", code="chosen", chosen=chosen))[0]


def test_what_is_true_or_false_is_said_in_words_and_who_is_asked_by_name():
    chosen = {"use_rslora": {"value": False, "code": "as_start", "values": {}}}
    assert "= non" in said(FR, event("", code="chosen", chosen=chosen))[0]
    told = said(FR, event("", code="evaluation_asking", n=2, who="candidate base"))[0]
    assert told.endswith("la version candidate, le modèle de base.")


def test_figures_are_written_as_the_language_has_it():
    told = event("as sent", code="seen_to_serve", trainer=0.01234, base=2.5)
    assert "by 0.0123 and from the base model by 2.5" in said(EN, told)[0]
    assert "de 0,0123 avec" in said(FR, told)[0]
    assert said(FR, event("as sent", code="held_out", n=1))[0].startswith("1 ligne est")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"reasons": {"beta": "x"}},
        {"code": "unheard_of"},
        {"code": "done"},
        {"code": 7},
        {"code": "chosen", "chosen": {"beta": {}}},
        {"code": "chosen", "chosen": 3},
        {"code": "round_finding"},
        {"code": "round_finding", "finding": "unheard_of"},
    ],
)
def test_what_cannot_be_said_in_the_readers_language_is_said_as_it_was_sent(data: dict[str, Any]):
    assert said(FR, event("as <sent>", **data)) == ("as <sent>", False)

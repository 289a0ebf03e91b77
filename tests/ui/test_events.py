import string
from typing import Any, get_args

import pytest

from service.contract.jobs import EventCode, JobEvent
from ui.events import said
from ui.words import LANGUAGES, words

EN, FR = words("en"), words("fr")


def event(message: str, **data: Any) -> JobEvent:
    return JobEvent(id="e", created_at=1, level="info", message=message, type="message", data=data)


def values_of(code: str) -> dict[str, Any]:
    fields = string.Formatter().parse(LANGUAGES["en"][f"event_{code}"])
    return {name: 3 for _, name, _, _ in fields if name}


@pytest.mark.parametrize("code", get_args(EventCode))
def test_every_message_with_a_code_is_said_in_both_languages(code: str):
    for w in (EN, FR):
        sentence, ours = said(w, event("as sent", code=code, **values_of(code)))
        assert ours
        assert "{" not in sentence
    assert said(EN, event("", code=code, **values_of(code))) != said(
        FR, event("", code=code, **values_of(code))
    )


def test_figures_are_written_as_the_language_has_it():
    told = event("as sent", code="seen_to_serve", trainer=0.01234, base=2.5)
    assert "by 0.0123 and from the base model by 2.5" in said(EN, told)[0]
    assert "de 0,0123 avec" in said(FR, told)[0]
    assert said(FR, event("as sent", code="held_out", n=1))[0].startswith("1 ligne est")


@pytest.mark.parametrize(
    "data", [{}, {"reasons": {"beta": "x"}}, {"code": "unheard_of"}, {"code": "done"}, {"code": 7}]
)
def test_what_cannot_be_said_in_the_readers_language_is_said_as_it_was_sent(data: dict[str, Any]):
    assert said(FR, event("as <sent>", **data)) == ("as <sent>", False)

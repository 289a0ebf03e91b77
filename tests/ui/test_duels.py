from typing import Any

import pytest

from service.contract.duels import Duel, Names
from ui.acts import Act
from ui.client import Refused
from ui.duels import drawn, vote_of
from ui.words import words

LANGUAGES = ("en", "fr")
NAMES = Names(pairing="base", a=3, b=0, a_completion_id="chatcmpl-1", b_completion_id="chatcmpl-2")


def duel(**more: Any) -> Duel:
    fields: dict[str, Any] = {
        "id": "duel_1", "assistant": "fanal", "question": "<script>q</script>", "status": "ready",
        "a": "<script>one</script>", "b": "two", "choice": None, "strength": None, "reasons": [], "comment": None,
        "names": None, "feedback_id": None, "created_at": 1,
    }  # fmt: skip
    return Duel(**fields | more)


@pytest.mark.parametrize("language", LANGUAGES)
def test_before_a_choice_there_are_no_names_and_after_it_no_form(language: str):
    w = words(language)
    before = drawn(w, duel())
    after = drawn(w, duel(status="decided", choice="a", names=NAMES))
    names = (w("release_number", number=3), w("base_model"))
    assert not [name for name in (*names, "fanal", "chatcmpl") if name in before]
    assert [name for name in names if name in after] == list(names)
    assert ("<form" in before, "<form" in after) == (True, False)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("choice", ["a", "b", "tie", "both_bad", None])
@pytest.mark.parametrize("pairing", ["releases", "base", "same"])
def test_every_end_is_drawn_and_nothing_in_it_is_markup(language: str, choice: Any, pairing: Any):
    names = NAMES.model_copy(update={"pairing": pairing})
    page = drawn(words(language), duel(status="decided", choice=choice, names=names))
    assert "&lt;script&gt;q" in page
    assert "<script>" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_an_answer_was_cut_off_is_said_beside_it_and_with_the_choice(language: str):
    w = words(language)
    before, after = duel(cut_off=["b"]), duel(cut_off=["b"], status="decided", choice="a", names=NAMES)
    first, second = drawn(w, before).split('id="side-b"')
    assert (w("turn_cut_off") in first, w("turn_cut_off") in second) == (False, True)
    assert w("duel_saved_cut_off") in drawn(w, after)
    assert w("duel_saved_winner") not in drawn(w, after)
    assert w("turn_cut_off") not in drawn(w, duel())


def test_that_both_answers_are_the_same_is_said():
    assert words("en")("duel_same_text") in drawn(words("en"), duel(a="two"))
    assert words("en")("duel_same_text") not in drawn(words("en"), duel())


def test_what_was_hidden_with_another_choice_is_left_out():
    fields = {"choice": ["both_bad"], "strength": ["3"], "praise": ["clear"], "blame": ["wrong", "nonsense"]}
    given = vote_of(Act(fields=fields))
    assert (given.choice, given.strength, given.reasons) == ("both_bad", None, ["wrong"])
    given = vote_of(Act(fields=fields | {"choice": ["a"]}))
    assert (given.strength, given.reasons) == (3, ["clear"])


@pytest.mark.parametrize("fields", [{}, {"choice": ["c"]}, {"choice": ["a"], "strength": ["9"]}])
def test_a_form_that_says_nothing_usable_is_refused(fields: dict[str, list[str]]):
    with pytest.raises(Refused):
        vote_of(Act(fields=fields))

import unicodedata

import pytest

from service.contract.blocklist import Blocklist
from service.contract.evaluations import Case

LONG = "Which of the two morning ferries to the northern island carries bicycles and small carts?"
CASES = Blocklist(
    [
        Case(id="short", question="When does it leave?", facts=["x"]),
        Case(id="long", question=LONG, facts=["x"]),
        Case(messages=[{"role": "user", "content": "And on Sundays?"}], facts=["x"]),
    ]
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("when does it  leave", "short"),
        ("WHEN DOES IT LEAVE?!", "short"),
        (LONG, "long"),
        (f"I have a question. {LONG} Thank you.", "long"),
        ("Hello, which of the two morning ferries to the northern island carries bicycles?", "long"),
        ("and on sundays", "line 3"),
        ("Which of the two morning boats to the northern island carries bicycles and small carts?", "long"),
        ("And on Mondays?", None),
        ("Tell me, when does it leave?", None),
        ("Which of the two morning ferries to the northern cape is cheaper?", None),
        ("Do they carry bicycles and small carts?", None),
        ("", None),
    ],
)
def test_a_text_that_repeats_a_held_out_question_is_known_by_its_name(text: str, name: str | None):
    found = CASES.match(text)
    assert (found.name if found else None) == name


@pytest.mark.parametrize("question", ["À quelle heure part le ferry préféré ?", "Où est le café ?"])
def test_an_accent_written_behind_its_letter_hides_no_question(question: str):
    """As files from a Mac and many PDFs have it."""
    cases = Blocklist([Case(id="one", question=question, facts=["x"])])
    behind = unicodedata.normalize("NFD", question)
    assert behind != question
    found = cases.match(behind)
    assert found is not None
    assert (found.name, found.how) == ("one", "same")


def test_of_several_texts_one_that_asks_is_enough():
    found = CASES.asked(["Hello.", "When does it leave?"])
    assert found is not None
    assert (found.name, found.how) == ("short", "same")
    assert CASES.asked(["Hello."]) is None


def test_a_question_with_a_word_exchanged_is_nearly_the_same_from_eight_words_on():
    asked = Blocklist([Case(id="c", question="Where can I change my money into euros today?", facts=["x"])])
    assert asked.match("where CAN I exchange my money into euros, today") == ("c", "near", 0.8)
    assert asked.match("Where can I spend my euros today?") is None
    short = Blocklist([Case(id="c", question="Where is my card?", facts=["x"])])
    assert short.match("Where is my deposit?") is None


def test_without_questions_nothing_is_held_out():
    assert Blocklist([]).asked(["", "When does it leave?"]) is None

from typing import Any, get_args

import pytest

from service.contract.reviews import (
    Agreement,
    Opinion,
    Pair,
    Review,
    Reviewer,
    ReviewItem,
    ReviewQueue,
    Said,
    Topic,
    Why,
)
from ui.acts import Act
from ui.client import Refused
from ui.reviews import drawn, figures, review_of
from ui.words import words

LANGUAGES = ("en", "fr")
EN = words("en")


def said(**more: Any) -> Said:
    fields: dict[str, Any] = {
        "type": "rating", "rating": -1, "reasons": ["wrong"], "comment": "<b>so</b>",
        "correction": None, "preferred": None,
    }  # fmt: skip
    return Said(**fields | more)


def item(**more: Any) -> ReviewItem:
    fields: dict[str, Any] = {
        "completion_id": "chatcmpl-1", "assistant": "fanal", "why": "correction",
        "before": [{"role": "user", "content": "<i>hi</i>"}], "question": "<script>q</script>",
        "answer": "<script>a</script>", "release": 3, "reserved_until": 900,
        "said": [said(), said(type="correction", rating=None, correction="<u>better</u>")],
    }  # fmt: skip
    return ReviewItem(**fields | more)


def queue(one: ReviewItem | None, **more: Any) -> ReviewQueue:
    fields: dict[str, Any] = {"waiting": 1, "more": False, "own": 0, "judged_this_week": 0, "judged": 0}
    return ReviewQueue(item=one, **fields | more)


def review(**more: Any) -> Review:
    fields: dict[str, Any] = {
        "id": "rev_1", "completion_id": "chatcmpl-1", "assistant": "fanal", "verdict": "approve", "why": "correction",
        "correction": None, "skip_reason": None, "rubric": {}, "comment": None, "personal_data": False,
        "expected": None, "outcome": "approve", "others": [], "feedback_id": None, "undone": False, "created_at": 1,
    }  # fmt: skip
    return Review(**fields | more)


def test_more_than_was_counted_is_told_as_that():
    page = drawn(words("en"), queue(item(), waiting=200, more=True))
    assert "More than 200 answers wait for you" in page
    assert "200 answers wait for you" in drawn(words("en"), queue(item(), waiting=200))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("why", get_args(Why))
def test_an_answer_is_drawn_for_every_reason_and_nothing_in_it_is_markup(language: str, why: Any):
    page = drawn(words(language), queue(item(why=why)))
    assert words(language)(f"review_why_{why}") in page.replace("&#39;", "'")
    for markup in ("<script>", "<b>so", "<u>", "<i>hi"):
        assert markup not in page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("verdict", ["approve", "reject", "correct", "skip"])
@pytest.mark.parametrize("expected", [None, "approve", "reject"])
def test_what_was_decided_is_said_with_what_the_others_decided(language: str, verdict: Any, expected: Any):
    other = Opinion(
        name="Rita<b>", verdict="reject", correction=None, comment="No.", personal_data=False, created_at=1
    )
    page = drawn(words(language), queue(None), review(verdict=verdict, expected=expected, others=[other]))
    assert "Rita&lt;b&gt;" in page
    offered = verdict != "skip" and not expected
    assert ('data-do="golden"' in page) == offered


def test_that_two_disagree_is_said_before_the_third_decides():
    assert EN("review_saved_disputed") in drawn(EN, queue(None), review(outcome="disputed"))


def test_nothing_waits_says_what_was_done_or_what_will_come():
    assert EN("review_nothing_first") in drawn(EN, queue(None))
    assert ">Harbour desk<" in drawn(EN, queue(item()), titles={"fanal": "Harbour desk"})
    page = drawn(EN, queue(None, judged_this_week=42, own=1))
    assert EN("review_nothing_done", n=42) in page
    assert EN("review_own", n=1) in page


def test_the_form_begins_with_the_better_answer_that_there_is():
    assert ">&lt;u&gt;better&lt;/u&gt;</textarea>" in drawn(EN, queue(item()))
    assert ">&lt;script&gt;a&lt;/script&gt;</textarea>" in drawn(EN, queue(item(said=[said()])))
    page = drawn(EN, queue(item(topic="<u>fares", topics=["<u>fares", "boat hire"])))
    assert 'value="&lt;u&gt;fares" data-draft' in page
    assert '<option value="boat hire">' in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_are_drawn_where_there_are_any(language: str):
    found = Agreement(
        items=4, alpha=0.714, topics=[Topic(topic="<b>", items=1, alpha=None)],
        pairs=[Pair(names=["Rita", "Sam"], items=4, same=3, kappa=0.5)],
        people=[Reviewer(name="Rita", judged=4, golden=2, as_expected=1)],
    )  # fmt: skip
    page = figures(words(language), found)
    alpha, kappa = {"en": ("0.71", "0.50"), "fr": ("0,71", "0,50")}[language]
    assert (alpha in page, kappa in page, "<b>" in page) == (True, True, False)
    assert words(language)("review_of", right=1, all=2) in page
    assert figures(EN, Agreement(items=0, alpha=None, topics=[], pairs=[], people=[])) == ""


def test_what_was_hidden_with_another_verdict_is_left_out():
    fields = {
        "verdict": ["approve"], "correction": ["x"], "skip_reason": ["unclear"], "rubric-clear": ["partly"],
        "personal_data": ["yes"], "comment": [" "], "topic": [" boat  hire"],
    }  # fmt: skip
    given = review_of(Act(id="chatcmpl-1", fields=fields))
    assert (given.verdict, given.correction, given.skip_reason) == ("approve", None, None)
    assert (given.rubric, given.personal_data, given.comment) == ({"clear": "partly"}, True, None)
    assert given.topic == "boat hire"
    assert review_of(Act(id="c", fields=fields | {"verdict": ["skip"]})).skip_reason == "unclear"


@pytest.mark.parametrize(
    "fields", [{}, {"verdict": ["correct"], "correction": [" "]}, {"verdict": ["perhaps"]}]
)
def test_a_form_that_says_nothing_usable_is_refused(fields: dict[str, list[str]]):
    with pytest.raises(Refused):
        review_of(Act(id="c", fields=fields))

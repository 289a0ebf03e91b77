"""Each fault is found by its name, before anything is trained."""

from dataclasses import replace

import pytest

from service.contract.blocklist import Blocklist
from service.contract.datasets import Example
from service.contract.evaluations import Case
from service.domain.preferences import Answer, Said, draw_of, pieces, row_of, verdicts

QUESTION = [{"role": "user", "content": "When does the ferry leave?"}]
ANSWER = Answer("a", "u", "conv", QUESTION, "At ten.", "complete", "stop", {"temperature": 0}, "base", None)
OTHER = replace(ANSWER, id="b", output="At nine.", adapter="tuned")
CORRECTION = Said("fb_1", "u", "correction", None, "At nine.", None, None, 1.0)
PREFERENCE = replace(CORRECTION, type="preference", correction=None)
NONE = Blocklist([])


def faults(said: Said, answer: Answer, other: Answer | None = None, blocklist: Blocklist = NONE) -> dict:
    return {(one.kind, one.side): one.fault for one in pieces(said, answer, other, blocklist)}


def test_a_correction_speaks_for_a_pair_for_an_example_and_against_the_answer_as_one():
    pair, example, against = pieces(CORRECTION, ANSWER, None, NONE)
    assert [one.fault for one in (pair, example, against)] == [None] * 3
    assert (pair.kind, example.kind, against.kind) == ("dpo", "sft", "sft")
    assert (example.side, against.side, against.row) == (1, -1, False)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"status": "interrupted"}, "interrupted"),
        ({"status": "failed"}, "interrupted"),
        ({"finish_reason": "length"}, "truncated"),
        ({"sampling": {"n": 2}}, "several_choices"),
        ({"sampling": {"tools": []}}, "bound_answer"),
        ({"messages": [*QUESTION, {"role": "tool", "content": "x"}, *QUESTION]}, "bound_answer"),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": "x", "tool_calls": [{}]}, *QUESTION]},
            "bound_answer",
        ),
        ({"output": "  "}, "empty_answer"),
        ({"output": " NaN "}, "missing_value"),
        ({"messages": []}, "erased"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "At"}]}, "no_question"),
    ],
)
def test_an_answer_that_must_not_train_is_left_out_by_name(change: dict, name: str):
    bad = replace(ANSWER, **change)
    assert name in faults(CORRECTION, bad).values()
    assert set(faults(replace(CORRECTION, type="rating", rating=1), bad).values()) == {name}
    assert set(faults(PREFERENCE, bad, OTHER).values()) >= {name}
    if "messages" not in change:
        assert name in faults(PREFERENCE, ANSWER, replace(OTHER, **change)).values()


def test_the_correction_of_an_answer_that_was_cut_off_is_an_example_still():
    found = faults(CORRECTION, replace(ANSWER, finish_reason="length"))
    assert (found["dpo", 1], found["sft", 1]) == ("truncated", None)


def test_a_correction_of_a_missing_value_is_an_example_and_one_to_it_is_nothing():
    found = faults(CORRECTION, replace(ANSWER, output="nan"))
    assert (found["dpo", 1], found["sft", 1]) == ("missing_value", None)
    assert set(faults(replace(CORRECTION, correction="nan"), ANSWER).values()) == {"missing_value"}


def test_a_prompt_is_the_same_in_parts_with_white_space_around_it_and_by_a_named_person():
    parts = [{"type": "text", "text": "When does the ferry "}, {"type": "text", "text": "leave?\n"}]
    other = replace(ANSWER, messages=[{"role": "user", "content": parts, "name": "ada"}], conversation=None)
    plain = replace(ANSWER, conversation=None)
    for said in (CORRECTION, replace(CORRECTION, type="rating", rating=1)):
        one, same = (pieces(said, answer, None, NONE) for answer in (plain, other))
        assert [(a.subject, a.conversation) for a in one] == [(b.subject, b.conversation) for b in same]
    assert set(faults(PREFERENCE, ANSWER, replace(OTHER, messages=other.messages)).values()) == {None}


def test_a_correction_that_changes_nothing_makes_no_pair():
    assert "unchanged" in faults(replace(CORRECTION, correction=" At ten. "), ANSWER).values()


def test_a_preference_between_answers_to_two_questions_is_left_out():
    other = replace(OTHER, messages=[{"role": "user", "content": "And back?"}])
    assert set(faults(PREFERENCE, ANSWER, other).values()) == {"different_prompts"}


def test_a_preference_for_an_answer_that_is_not_there_is_left_out():
    assert set(faults(PREFERENCE, ANSWER).values()) == {"erased"}


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_a_tie_never_trains_but_speaks_where_agreement_is_measured(outcome: str):
    found = pieces(replace(PREFERENCE, preference=outcome), ANSWER, OTHER, NONE)
    assert {one.fault for one in found} == {outcome}
    assert [one.subject is not None for one in found if one.kind == "dpo"] == [True]
    decided = pieces(PREFERENCE, ANSWER, OTHER, NONE)
    assert found[0].subject == decided[0].subject


def test_an_example_teaches_its_own_answer_and_none_of_those_before_it():
    """Earlier answers may have been broken off, corrected or disliked; they are there to be read."""
    before = [*QUESTION, {"role": "assistant", "content": "At te"}, {"role": "user", "content": "And back?"}]
    row = row_of("sft", CORRECTION, replace(ANSWER, messages=before), None)
    learned = [
        one["content"] for one in row["messages"] if one["role"] == "assistant" and one.get("weight") != 0
    ]
    assert learned == ["At nine."]
    assert [one["content"] for one in row["messages"]] == [*(one["content"] for one in before), "At nine."]
    assert Example.model_validate(row)
    assert before[1] == {"role": "assistant", "content": "At te"}, "what was recorded stays as it was"


def test_opposite_preferences_are_on_one_subject_and_on_two_sides():
    one, other = pieces(PREFERENCE, ANSWER, OTHER, NONE)[0], pieces(PREFERENCE, OTHER, ANSWER, NONE)[0]
    assert (one.subject, one.side) == (other.subject, -other.side)


def test_a_held_out_question_is_found_in_any_turn():
    cases = Blocklist([Case(id="c", question="when does the FERRY leave", facts=["x"])])
    later = replace(
        ANSWER, messages=[*QUESTION, {"role": "assistant", "content": "?"}, {"role": "user", "content": "so"}]
    )
    assert set(faults(CORRECTION, later, blocklist=cases).values()) == {"held_out_case"}
    assert set(faults(replace(CORRECTION, type="rating", rating=-1), ANSWER, blocklist=cases).values()) == {
        "held_out_case"
    }


def test_nearly_a_held_out_question_is_kept_out_of_feedback():
    asked = "At what time does the last ferry to the island leave tonight?"
    cases = Blocklist([Case(id="c", question=asked.replace("tonight", "today"), facts=["x"])])
    near = replace(ANSWER, messages=[{"role": "user", "content": asked}])
    assert set(faults(CORRECTION, near, blocklist=cases).values()) == {"held_out_case"}


def test_which_side_stood_on_the_left_is_known_when_it_was_said():
    assert pieces(PREFERENCE, ANSWER, OTHER, NONE)[0].left is None
    assert pieces(replace(PREFERENCE, left_id="a"), ANSWER, OTHER, NONE)[0].left is False
    assert pieces(replace(PREFERENCE, left_id="b"), ANSWER, OTHER, NONE)[0].left is True


@pytest.mark.parametrize(
    ("kind", "up", "down", "found"),
    [
        ("dpo", 1, 0, {"kept": 1}),
        ("dpo", 0, 3, {"kept": 1, "duplicate": 2}),
        ("dpo", 2, 1, {"conflicting": 3}),
        ("kto", 1, 1, {"conflicting": 2}),
        ("sft", 2, 1, {"conflicting": 2}),
        ("sft", 0, 2, {}),
    ],
)
def test_of_one_subject_one_row_trains_unless_it_is_contested(kind: str, up: int, down: int, found: dict):
    assert verdicts(kind, up, down) == found


def test_the_row_of_a_preference_teaches_the_other_answer_over_this_one():
    row = row_of("dpo", PREFERENCE, ANSWER, OTHER)
    assert row["preferred_output"] == [{"role": "assistant", "content": "At nine."}]
    assert row["non_preferred_output"] == [{"role": "assistant", "content": "At ten."}]


def test_the_draw_of_a_row_depends_on_its_id_alone():
    assert draw_of("fb_1") == draw_of("fb_1") != draw_of("fb_2")
    assert 0 <= draw_of("fb_1") < 2**63

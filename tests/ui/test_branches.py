from typing import Any

from service.contract.conversations import START, ConversationTurns
from service.contract.feedback import Preference, Standing
from tests.ui.test_views import turn
from ui.branches import Verdict, before, drawn, next_follows
from ui.words import words

EN = words("en")


def tree(*turns: Any, path: list[int]) -> ConversationTurns:
    return ConversationTurns(
        id="conv_1", title="t", assistant="fanal", created_at=1, updated_at=1, turns=list(turns),
        path=[f"chatcmpl-{number}" for number in path],
    )  # fmt: skip


def preferring(number: int, preference: Any = "better") -> Standing:
    said = Preference(feedback_id="fb_1", preferred_completion_id=f"chatcmpl-{number}", preference=preference)
    return Standing(preferences=[said])


FIRST = turn(1)
SAME: dict[str, Any] = {"question": "same", "follows": "chatcmpl-1", "prompt": "p"}


def test_answers_to_one_question_and_versions_of_a_question_have_arrows_of_their_own():
    two, three = turn(2, **SAME), turn(3, **SAME)
    changed = turn(4, follows="chatcmpl-1", question="changed", prompt="q")
    found = tree(FIRST, two, three, changed, path=[1, 3])
    shown = drawn(EN, found, three)
    assert shown.answers is not None
    assert (shown.answers.number, shown.answers.of, shown.answers.before) == (2, 2, "chatcmpl-2")
    assert shown.questions is not None
    assert (shown.questions.number, shown.questions.of, shown.questions.after) == (1, 2, "chatcmpl-4")
    assert drawn(EN, found, FIRST).answers is None


def test_a_failure_without_an_answer_is_no_branch():
    found = tree(FIRST, turn(2, **SAME, answer="", status="failed"), turn(3, **SAME), path=[1, 3])
    shown = drawn(EN, found, found.turns[2])
    assert (shown.answers, shown.rival) == (None, None)


def test_only_whole_answers_to_the_very_same_prompt_are_compared():
    for other in (
        {"prompt": "another"}, {"status": "interrupted"}, {"answer": "answer 3"}, {"question": "another"},
    ):  # fmt: skip
        found = tree(FIRST, turn(2, **SAME | other), turn(3, **SAME), path=[1, 3])
        assert drawn(EN, found, found.turns[2]).rival is None
    found = tree(FIRST, turn(2, **SAME), turn(3, **SAME), path=[1, 3])
    assert drawn(EN, found, found.turns[2]).rival is found.turns[1]
    assert drawn(EN, found, found.turns[1]).rival is None


def test_what_was_said_of_the_two_is_read_from_either_side():
    def verdict(earlier: Standing, later: Standing) -> Verdict | None:
        found = tree(FIRST, turn(2, **SAME, feedback=earlier), turn(3, **SAME, feedback=later), path=[1, 3])
        return drawn(EN, found, found.turns[2]).verdict

    assert verdict(preferring(3), Standing()) == Verdict("better", "fb_1")
    assert verdict(Standing(), preferring(2)) == Verdict("worse", "fb_1")
    assert verdict(preferring(3, "tie"), Standing()) == Verdict("same", "fb_1")
    assert verdict(Standing(), Standing()) is None


def test_a_question_follows_the_last_answer_shown_and_a_branch_what_its_twin_followed():
    found = tree(FIRST, turn(2, follows="chatcmpl-1"), turn(3, follows="chatcmpl-2"), path=[1, 2, 3])
    assert next_follows(found) == "chatcmpl-3"
    assert [one.completion_id for one in before(found, "chatcmpl-2")] == ["chatcmpl-1", "chatcmpl-2"]
    assert before(found, START) == []
    assert next_follows(tree(path=[])) == START


def test_a_question_after_a_failure_follows_what_the_failure_followed():
    failed = turn(2, follows="chatcmpl-1", answer="", status="failed")
    assert next_follows(tree(FIRST, failed, path=[1, 2])) == "chatcmpl-1"

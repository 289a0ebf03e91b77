from pathlib import Path

import pytest

from tests.service.intake.files import Brought, jsonl

CASES = [
    {"id": "fares", "question": "What does a child under twelve pay for the morning ferry to the outer island?",
     "facts": ["4"]},
    {"messages": [{"role": "user", "content": "Who keeps the lighthouse?"}], "reference": "Mira"},
]  # fmt: skip
FARES = CASES[0]["question"]


@pytest.mark.parametrize(
    ("question", "case", "how"),
    [
        (FARES, "fares", "same"),
        ("what does a child  under twelve pay, for the morning ferry to the outer island", "fares", "same"),
        (
            f"Hello! I have two questions for you today, my friend. {FARES} And are dogs allowed?",
            "fares",
            "runs",
        ),
        ("who keeps the LIGHTHOUSE", "line 2", "same"),
        (f"Please: {FARES}", "fares", "runs"),
        ("What will a child under twelve pay for the morning ferry to that outer island?", "fares", "near"),
        ("What does a child under twelve pay?", None, None),
        ("Who keeps the lighthouse keys when it is dark?", None, None),
        ("When does the morning ferry to the outer island leave?", None, None),
    ],
)
def test_a_question_that_is_measured_on_does_not_reach_training(
    tmp_path: Path, question: str, case: str | None, how: str | None
):
    (tmp_path / "cases").write_bytes(jsonl(*CASES))
    rows = [{"prompt": question, "completion": "a"}, {"prompt": "something else", "completion": "b"}]
    report = Brought(tmp_path, jsonl(*rows), cases=[str(tmp_path / "cases")]).read()
    touched = [(one.line, one.case, one.how) for one in report.touched]
    assert touched == ([(1, case, how)] if case else [])
    assert (report.cases, report.taken) == (2, 1 if case else 2)


def test_an_answer_may_hold_the_facts_that_are_asked_for_but_not_the_question(tmp_path: Path):
    (tmp_path / "cases").write_bytes(jsonl(*CASES))
    rows = [{"prompt": "Prices?", "completion": "Mira keeps the lighthouse; a child pays 4."},
            {"prompt": "Tell me a riddle", "completion": FARES}]  # fmt: skip
    report = Brought(tmp_path, jsonl(*rows), cases=[str(tmp_path / "cases")]).read()
    assert [(one.line, one.how) for one in report.touched] == [(2, "runs")]

import hashlib
import json
from pathlib import Path

import pytest

from evals.cases import question_of, read_cases
from evals.refusal import Refused


def read(folder: Path, *rows: dict | str):
    path = folder / "cases.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return read_cases(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_nameless_case_gets_the_same_id_wherever_it_stands(tmp_path: Path) -> None:
    one, two = {"question": "One?", "facts": ["1"]}, {"question": "Two?", "facts": ["2"], "id": "two"}
    first, again = read(tmp_path, one, two), read(tmp_path, two, one)
    assert [case.id for case in first] == [case.id for case in reversed(again)]
    assert str(first[0].id).startswith("case-")
    assert first[1].id == "two"


def test_a_byte_order_mark_is_no_part_of_the_first_case(tmp_path: Path) -> None:
    row = {"question": "One?", "facts": ["1"]}
    assert read(tmp_path, "\ufeff" + json.dumps(row)) == read(tmp_path, row)


def test_a_conversation_asks_what_its_last_message_asks(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "A lamp?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "How much?"},
    ]
    (case,) = read(tmp_path, {"messages": messages, "reference": "12 €"})
    assert question_of(case) == "How much?"
    assert [message["role"] for message in case.prompt()] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "What for?"}, "facts"),
        ("{not json", "Line 2"),
        (
            {
                "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
                "facts": ["f"],
            },
            "end",
        ),
        ({"messages": [], "facts": ["f"]}, "end"),
        ({"question": " ", "facts": ["f"]}, "Line 2 of the cases: 'question' is empty"),
        ({"question": "Fine?", "facts": ["1"]}, "the same"),
    ],
)
def test_a_row_that_cannot_be_measured_is_refused_by_its_line(
    tmp_path: Path, row: dict | str, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        read(tmp_path, {"question": "Fine?", "facts": ["1"]}, row)


def test_cases_that_changed_since_they_were_planned_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"question": "Q?", "facts": ["f"]}\n')
    with pytest.raises(Refused, match="not the ones that were planned"):
        read_cases(path, "0" * 64)
    with pytest.raises(Refused, match="empty"):
        read(tmp_path)

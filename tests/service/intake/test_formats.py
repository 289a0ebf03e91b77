import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from service.contract.imports import Problem
from service.intake import formats
from service.intake.problems import MENDS, BadRecord
from tests.service.intake.files import Brought, jsonl, workbook


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
SFT = {"messages": [SYSTEM, user("q"), assistant("a")]}
DPO = {
    "input": {"messages": [user("q")]},
    "preferred_output": [assistant("good")],
    "non_preferred_output": [assistant("bad")],
}
KTO = {"prompt": [user("q")], "completion": [assistant("a")], "label": False}
HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}


@pytest.mark.parametrize(
    ("row", "form", "made"),
    [
        (SFT, "openai-chat", SFT),
        ({"messages": [user("q"), {**assistant("x"), "weight": 0}, user("p"), assistant("a")]}, "openai-chat",
         {"messages": [user("q"), {**assistant("x"), "weight": 0}, user("p"), assistant("a")]}),
        ({"messages": [user("q"), {"role": "assistant", "content": [{"type": "text", "text": "x"}], "weight": 0},
                       user("p"), assistant("a")]}, "openai-chat",
         {"messages": [user("q"), {"role": "assistant", "content": [{"type": "text", "text": "x"}], "weight": 0},
                       user("p"), assistant("a")]}),
        (DPO, "openai-preference", DPO),
        ({"prompt": "q", "completion": "a"}, "prompt-completion", {"messages": [user("q"), assistant("a")]}),
        ({"prompt": [user("q")], "completion": [assistant("a")]}, "prompt-completion",
         {"messages": [user("q"), assistant("a")]}),
        ({"system": "Be brief.", "prompt": "q", "completion": "a"}, "prompt-completion", SFT),
        (KTO, "kto", KTO),
        ({"prompt": "q", "completion": "a", "label": "no"}, "kto", KTO),
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, "preference", DPO),
        ({"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]}, "preference", DPO),
        ({"prompt": [user("q")], "chosen": [user("q"), assistant("good")], "rejected": [assistant("bad")]},
         "preference", DPO),
        ({"system": "Be brief.", "conversations": [HUMAN, GPT]}, "sharegpt", SFT),
        ({"conversations": [HUMAN], "chosen": {"from": "gpt", "value": "good"},
          "rejected": {"from": "gpt", "value": "bad"}}, "sharegpt", DPO),
        ({"conversations": [HUMAN, GPT], "kto_tag": False}, "sharegpt", KTO),
        ({"instruction": "q", "input": "", "output": "a", "system": "Be brief."}, "alpaca", SFT),
        ({"instruction": "q", "input": "more", "output": "a"}, "alpaca",
         {"messages": [user("q\n\nmore"), assistant("a")]}),
        ({"instruction": "q", "output": "a", "history": [["first", "one"]]}, "alpaca",
         {"messages": [user("first"), assistant("one"), user("q"), assistant("a")]}),
        ({"instruction": "q", "chosen": "good", "rejected": "bad"}, "alpaca", DPO),
    ],
)  # fmt: skip
def test_each_format_is_recognised_and_becomes_a_row_of_ours(
    tmp_path: Path, row: dict[str, Any], form: str, made: dict[str, Any]
):
    brought = Brought(tmp_path, jsonl(row))
    assert (brought.look().recognised, brought.look().rows) == (form, [made])
    assert brought.read().taken == 1
    assert brought.rows() == [made]


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"messages": "hello"}, "messages", "wrong_type"),
        ({"messages": []}, "messages", "empty_field"),
        ({"messages": [user("q"), {"role": "wizard", "content": "a"}]}, "messages[1].role", "bad_role"),
        ({"messages": [user(" "), assistant("a")]}, "messages[0].content", "empty_field"),
        ({"messages": [user("q")]}, "messages", "wrong_type"),
        ({"messages": [assistant("a"), user("q")]}, None, "last_message"),
        ({"messages": [user("q"), {"role": "tool", "content": "4"}]}, "messages[1]", "tool_message"),
        ({"messages": [user("q"), {"role": "assistant", "tool_calls": [{}]}]}, "messages[1]", "tool_message"),
        ({"messages": [user("q"), assistant("a")], "tools": [{"type": "function"}]}, None, "tool_message"),
        ({**DPO, "input": {"messages": [user("q")], "tools": [{}]}}, None, "tool_message"),
        ({**DPO, "preferred_output": [{**assistant("good"), "tool_calls": [{}]}]}, None, "tool_message"),
        ({**DPO, "non_preferred_output": [assistant("good")]}, None, "same_answers"),
        ({"input": {"messages": [user("q")]}, "preferred_output": [assistant("a")]}, "non_preferred_output",
         "missing_field"),
        ({"prompt": "q", "completion": ""}, "completion", "empty_field"),
        ({"prompt": "q", "completion": None}, "completion", "empty_field"),
        ({"prompt": {"a": 1}, "completion": "a"}, "prompt[0].role", "bad_role"),
        ({"prompt": "q", "chosen": "same", "rejected": "same "}, "rejected", "same_answers"),
        ({"prompt": "q", "completion": "a", "label": "perhaps"}, "label", "bad_label"),
        ({"conversations": [HUMAN, GPT, HUMAN]}, "conversations[2]", "last_message"),
        ({"conversations": [HUMAN, {"from": "observation", "value": "x"}]}, "conversations[1]", "tool_message"),
        ({"instruction": "", "output": "a"}, "instruction", "empty_field"),
        ({"instruction": "q", "output": "a", "history": ["one"]}, "history[0]", "wrong_type"),
        ({"instruction": "q", "output": "a", "history": [["one", None]]}, "history[0]", "empty_field"),
        ({"instruction": "q", "output": "a", "input": ["more"]}, "input", "wrong_type"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_names_file_line_field_and_mend(
    tmp_path: Path, row: dict[str, Any], field: str | None, reason: str
):
    kinds = {"input": DPO, "messages": SFT, "conversations": {"conversations": [HUMAN, GPT]},
             "instruction": {"instruction": "q", "output": "a"},
             "chosen": {"prompt": "q", "chosen": "a", "rejected": "b"},
             "label": {"prompt": "q", "completion": "a", "label": True}}  # fmt: skip
    good = next((made for name, made in kinds.items() if name in row), {"prompt": "q", "completion": "a"})
    report = Brought(tmp_path, jsonl(good, row), "faq.jsonl").read()
    assert (report.taken, report.refused) == (1, {reason: 1})
    [problem] = report.problems
    assert (problem.file, problem.line, problem.field, problem.reason) == ("faq.jsonl", 2, field, reason)
    assert problem.mend.endswith(".")
    refused = (tmp_path / "refused.jsonl").read_bytes().splitlines()
    assert [Problem.model_validate_json(line) for line in refused] == [problem]


def test_columns_that_nobody_agreed_on_are_suggested_by_their_names(tmp_path: Path):
    look = Brought(tmp_path, b"Frage;Antwort\na;b\n").look()
    assert (look.recognised, look.format, look.mapping, look.kind) == (None, "columns", {}, None)
    look = Brought(tmp_path, "Réponse;Question;URL\nb;a;u\n".encode()).look()
    assert look.mapping == {"prompt": "Question", "completion": "Réponse", "source": "URL"}
    assert look.rows == [{"messages": [user("a"), assistant("b")]}]
    look = Brought(tmp_path, b"text,category\na,b\n").look()
    assert look.mapping == {"prompt": "text", "completion": "category"}


def test_a_column_called_like_a_label_is_one_only_if_it_holds_labels(tmp_path: Path):
    rated = Brought(tmp_path, b"question,answer,rating\na,b,up\nc,d,down\n").look()
    assert (rated.kind, rated.mapping["label"]) == ("kto", "rating")
    noted = Brought(tmp_path, b"question,answer,note\na,b,up\nc,d,ask Ann\n").look()
    assert (noted.kind, noted.mapping) == ("sft", {"prompt": "question", "completion": "answer"})


def test_an_answer_that_is_json_itself_stays_text_and_a_cell_of_messages_does_not(tmp_path: Path):
    answers = [
        '{"role": "captain", "name": "Mira"}',
        '[{"role": "mate"}]',
        '{"messages": []}',
        "[1, 2]",
        "{so",
    ]
    brought = Brought(tmp_path, jsonl(*({"prompt": "q", "completion": answer} for answer in answers)))
    assert brought.read().taken == len(answers)
    assert [row["messages"][1]["content"] for row in brought.rows()] == answers
    cell = '"[{""role"": ""user"", ""content"": ""q""}, {""role"": ""assistant"", ""content"": ""a""}]"'
    look = Brought(tmp_path, f"messages\n{cell}\n".encode()).look()
    assert look.rows == [{"messages": [user("q"), assistant("a")]}]


def test_a_mapping_says_which_column_holds_what_and_thereby_the_kind(tmp_path: Path):
    content = b"a,b,c,d\nq,good,bad,up\n"
    pair = Brought(tmp_path, content, mapping={"prompt": "a", "chosen": "b", "rejected": "c"}).look()
    assert (pair.kind, pair.rows) == ("dpo", [DPO])
    rated = Brought(tmp_path, content, mapping={"prompt": "a", "completion": "b", "label": "d"}).look()
    assert (rated.kind, rated.rows[0]["label"]) == ("kto", True)
    half = Brought(tmp_path, content, mapping={"prompt": "a", "chosen": "b"}).look()
    assert (half.kind, half.rows, half.refused) == (None, [], 1)
    assert half.problems[0].mend.startswith("Add the field, choose another column")


def test_the_instructions_of_an_assistant_go_before_rows_that_bring_none(tmp_path: Path):
    rows = [{"prompt": "q", "completion": "a"}, {"prompt": [SYSTEM, user("p")], "completion": "a"}]
    brought = Brought(tmp_path, jsonl(*rows), instructions="Be kind.")
    brought.read()
    assert [row["messages"][0]["content"] for row in brought.rows()] == ["Be kind.", "Be brief."]


def test_a_file_of_two_kinds_is_taken_for_that_of_its_first_row(tmp_path: Path):
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "q", "chosen": "a", "rejected": "b"}]
    report = Brought(tmp_path, jsonl(*rows)).read()
    assert (report.kind, report.taken, report.refused) == ("sft", 1, {"other_kind": 1})


def test_cells_of_a_workbook_are_read_as_a_person_reads_them(tmp_path: Path):
    import datetime

    rows = [
        ["question", "answer"],
        ["How many?", 3.0],
        ["When?", datetime.date(2026, 11, 23)],
        ["Open?", True],
    ]
    brought = Brought(tmp_path, workbook(*rows))
    brought.read()
    answers = [row["messages"][1]["content"] for row in brought.rows()]
    assert answers == ["3", "2026-11-23T00:00:00", "True"]


ODD: list[Any] = [
    None, "", " ", "text", "[", "[1]", "{}", 0, 1, -1.5, True, False, [], [[]], [None], ["a"], ["a", "b"], [["a", "b"]],
    {},
    {"role": "user"}, {"role": ["user"], "content": "x"}, {"from": {}, "value": 1}, user("q"), assistant("a"),
    {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": ["a"]},
    {"role": "user", "content": [{"type": "image_url"}]}, HUMAN, GPT, {"messages": [user("q")]}, {"messages": 3},
    [user("q"), assistant("a")], [HUMAN, GPT], [user("q")], [assistant("a")], {"weight": "x", **assistant("a")},
]  # fmt: skip
GOOD: list[Any] = [
    [user("q"), assistant("a")],
    "fine",
    {"messages": [user("q")]},
    [assistant("b")],
    "good",
    True,
]
FIELDS = {
    "openai-chat": ["messages", "tools"], "openai-preference": ["input", "preferred_output", "non_preferred_output"],
    "prompt-completion": ["system", "prompt", "completion"], "kto": ["prompt", "completion", "label"],
    "preference": ["prompt", "chosen", "rejected"], "sharegpt": ["conversations", "chosen", "rejected", "kto_tag"],
    "alpaca": ["instruction", "input", "output", "history", "chosen", "rejected", "kto_tag"],
    "columns": ["a", "b", "c"],
}  # fmt: skip


@pytest.mark.parametrize("form", FIELDS)
def test_no_record_however_odd_stops_an_import(form: Any):
    """Each becomes a row or a refusal with a mend."""
    drawn, refused = random.Random(form), Counter[str]()
    for _ in range(1500):
        value = {name: drawn.choice(ODD) for name in FIELDS[form] if drawn.random() < 0.9}
        for name in value:
            if drawn.random() < 0.8:
                value[name] = drawn.choice(GOOD)
        mapping: Any = {"prompt": "a", "chosen": "b", "rejected": "c"} if form == "columns" else {}
        try:
            formats.convert(value, form, mapping, drawn.choice([None, "Be kind."]))
        except BadRecord as bad:
            refused[bad.reason] += 1
    assert 0 < refused.total() < 1500
    assert refused.keys() <= MENDS.keys()

"""Data that must not be trained on is refused before any model is loaded, and by name."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from service.contract import folder
from service.contract.chat import Message
from service.contract.jobs import TrainingSpec
from tests.training.conftest import MakeRun, examples, pairs, rated
from training import rows
from training.refusal import Refused
from training.rows import prompt_messages

NO_BASE = Path("/nowhere")


def test_rows_carry_the_line_a_person_finds_them_at(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(3), examples(1, start=9))
    found = rows.read(run, spec)
    assert [row.name for row in found.train] == [f"train.jsonl line {n}" for n in (1, 2, 3)]
    assert [row.name for row in found.held_out] == ["validation.jsonl line 1"]


def test_a_training_file_with_another_hash_is_refused(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(3))
    with open(run / "train.jsonl", "a") as file:
        file.write("\n")
    with pytest.raises(Refused, match="SHA-256") as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "wrong_sha256"


def test_a_held_out_row_that_stands_in_training_is_refused_by_name(make_run: MakeRun) -> None:
    held_out = [*examples(2, start=9), *examples(1, start=1)]
    run, spec = make_run("run", "sft", NO_BASE, examples(3), held_out)
    with pytest.raises(Refused, match=r"validation.jsonl line 3 .*train.jsonl line 2") as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "held_out_in_training"


def test_a_held_out_row_that_asks_what_training_asks_is_set_aside_whatever_it_answers(
    make_run: MakeRun,
) -> None:
    train = examples(3)
    train[2]["messages"][0]["content"] = "When does the last ferry of the day leave for the island, please?"
    same, near = examples(2, start=1)
    same["messages"][0]["content"] = "  where does FERRY 1 leave"
    same["messages"][1]["content"] = near["messages"][1]["content"] = "Nobody knows."
    near["messages"][0]["content"] = "When does the last boat of the day leave for the island, please?"
    run, spec = make_run("run", "sft", NO_BASE, train, [same, *examples(1, start=9), near])
    found = rows.read(run, spec)
    assert ([row.name for row in found.held_out], found.set_aside) == (["validation.jsonl line 2"], 2)
    told: list[str] = []
    rows.tell(found, lambda said, *_, **__: told.append(said))
    assert told[0].startswith("2 held-out rows ask what training asks")


def test_a_held_out_conversation_that_is_the_beginning_of_a_trained_one_is_set_aside(
    make_run: MakeRun,
) -> None:
    long, short = examples(1, start=3)[0], examples(1, start=3)[0]
    long["messages"] += examples(1, start=4)[0]["messages"]
    unlearnt = examples(1, start=5)[0]
    unlearnt["messages"][1]["weight"] = 0
    unlearnt["messages"] += examples(1, start=6)[0]["messages"]
    run, spec = make_run("run", "sft", NO_BASE, [long, unlearnt], [short, *examples(1, start=5)])
    found = rows.read(run, spec)
    assert ([row.name for row in found.held_out], found.set_aside) == (["validation.jsonl line 2"], 1)


def test_a_held_out_row_that_the_adapter_started_from_was_taught_is_set_aside(make_run: MakeRun) -> None:
    run, spec = make_run("run", "dpo", NO_BASE, pairs(4), pairs(3, start=50))
    earlier = [examples(1, start=1)[0], pairs(1, start=51)[0] | {"tools": "not refused then"}]
    spec.learned = ["a" * 64]
    (run / folder.LEARNED.format(number=0)).write_text("".join(json.dumps(row) + "\n" for row in earlier))
    found = rows.read(run, spec)
    assert ([row.name[-1] for row in found.held_out], found.set_aside) == (["1", "3"], 1)


def test_a_developer_s_message_is_trained_as_it_is_served(make_run: MakeRun) -> None:
    said = [Message(role="developer", content="Be brief."), Message(role="user", content="Hi")]
    assert [one["role"] for one in rows.plain(said)] == ["system", "user"]


def test_the_form_that_all_questions_are_asked_in_makes_none_of_them_the_same(make_run: MakeRun) -> None:
    def asks(word: str) -> dict:
        text = f"Say in one word whether the customer who wrote the following line is content: {word}"
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}

    held_out = [asks(word) for word in ("one", "two", "three", "four", "five")]
    run, spec = make_run("run", "sft", NO_BASE, [asks("six"), asks("Three!"), asks("seven")], held_out)
    found = rows.read(run, spec)
    assert [row.name[-6:] for row in found.held_out] == ["line 1", "line 2", "line 4", "line 5"]


def test_a_held_out_pair_from_a_trained_conversation_is_refused(make_run: MakeRun) -> None:
    origin = {
        "completion_id": "chatcmpl-1",
        "feedback_id": "fb-1",
        "person": "p",
        "release": None,
        "adapter": "base",
        "sampling": {},
        "conversation": "conv-7",
    }
    train, held_out = pairs(2), pairs(1, start=9)
    train[1]["tailorbird"] = held_out[0]["tailorbird"] = origin
    run, spec = make_run("run", "dpo", NO_BASE, train, held_out)
    with pytest.raises(Refused, match="line 1 is held out .*line 2"):
        rows.read(run, spec)


def test_two_people_who_asked_and_got_the_same_stop_no_round(make_run: MakeRun) -> None:
    def of(conversation: str) -> dict:
        return {
            "completion_id": f"chatcmpl-{conversation}", "feedback_id": "fb", "person": "p", "release": None,
            "adapter": "base", "sampling": {}, "conversation": conversation,
        }  # fmt: skip

    train, held_out = pairs(3), [*pairs(1), *pairs(1, start=9)]
    for row, conversation in zip([*train, *held_out], "abcde", strict=True):
        row["tailorbird"] = of(conversation)
    run, spec = make_run("run", "dpo", NO_BASE, train, held_out)
    found = rows.read(run, spec)
    assert ([row.name for row in found.held_out], found.set_aside) == (["validation.jsonl line 2"], 1)


def test_a_held_out_row_of_a_document_that_is_learnt_from_is_refused(make_run: MakeRun) -> None:
    origin = {
        "document": "rules.md",
        "sha256": "ab",
        "place": "page 1",
        "confirmed_by": "p",
        "confirmed_at": 1.0,
        "conversation": "document ab",
    }
    train, held_out = examples(2), examples(1, start=9)
    train[1]["tailorbird"] = origin
    held_out[0]["tailorbird"] = {**origin, "place": "page 2"}
    run, spec = make_run("run", "sft", NO_BASE, train, held_out)
    with pytest.raises(Refused, match="line 1 is held out .*line 2"):
        rows.read(run, spec)


def test_a_pair_in_a_supervised_run_is_refused_with_its_line(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, [*examples(1), *pairs(1)])
    with pytest.raises(Refused, match="train.jsonl: Line 2") as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "bad_row"


def test_a_missing_training_file_is_refused(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(1))
    (run / "train.jsonl").unlink()
    with pytest.raises(Refused) as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "file_missing"


def test_more_rows_than_fit_into_memory_are_refused_with_both_figures_before_one_is_read(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(2))
    size = (run / "train.jsonl").stat().st_size
    monkeypatch.setattr(rows, "free_memory", lambda: size * rows.TAKES)
    assert len(rows.read(run, spec).train) == 2
    (run / "train.jsonl").write_bytes(b"{broken")
    os.truncate(run / "train.jsonl", 1_500_000_000)
    monkeypatch.setattr(rows, "free_memory", lambda: 14_000_000_000)
    with pytest.raises(
        Refused, match=r"1500 MB: .* 42\.0 GB .* 14\.0 GB are free.* 500 MB at most"
    ) as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "too_much_data"


def test_without_a_validation_file_nothing_is_held_out(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(2))
    assert rows.read(run, spec).held_out == []


def test_a_held_out_answer_that_is_trained_with_the_other_label_is_refused(make_run: MakeRun) -> None:
    held_out = [{**rated(2)[0], "label": False}]
    run, spec = make_run("run", "kto", NO_BASE, rated(4), held_out)
    with pytest.raises(Refused, match="line 1 is held out .*train.jsonl line 1"):
        rows.read(run, spec)


def hold_out(run: Path, spec: TrainingSpec, *questions: str) -> TrainingSpec:
    """The run of an assistant that is measured on these questions."""
    lines = [json.dumps({"id": f"case-{n}", "question": q, "facts": ["x"]}) for n, q in enumerate(questions)]
    content = "\n".join(lines).encode()
    (run / "cases.jsonl").write_bytes(content)
    return spec.model_copy(update={"cases_sha256": hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize(("kind", "make"), [("sft", examples), ("dpo", pairs), ("kto", rated)])
def test_a_row_that_asks_a_held_out_question_is_refused_by_both_names(
    make_run: MakeRun, kind: str, make
) -> None:
    run, spec = make_run("run", kind, NO_BASE, make(4))
    asked = prompt_messages(rows.read(run, spec).train[2].row)[-1].text()
    with pytest.raises(Refused, match=r"train.jsonl line 3 .*'case-1'") as refusal:
        rows.read(run, hold_out(run, spec, "Something else?", f"  {asked.upper()}"))
    assert refusal.value.code == "held_out_case"


def test_other_questions_may_be_held_out(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(3))
    assert rows.read(run, spec).cases == 0
    found = rows.read(run, hold_out(run, spec, "Where does ferry 99 leave?", "And ferry 98?"))
    assert (len(found.train), found.cases) == (3, 2)


def test_held_out_questions_that_are_missing_or_others_stop_the_run(make_run: MakeRun) -> None:
    run, spec = make_run("run", "sft", NO_BASE, examples(3))
    spec = hold_out(run, spec, "Something else?")
    (run / "cases.jsonl").write_text("")
    with pytest.raises(Refused, match="other questions") as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "wrong_sha256"
    (run / "cases.jsonl").unlink()
    with pytest.raises(Refused) as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "file_missing"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]}, "is empty"),
        (
            {
                "messages": [
                    *examples(1)[0]["messages"][:1],
                    {"role": "assistant"},
                    *examples(1)[0]["messages"],
                ]
            },
            "message 2, of role 'assistant', is empty",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": [{"type": "text", "text": None}]},
                ]
            },
            "is empty",
        ),
        (
            {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]},
            "needs content",
        ),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": float("nan")}]},
            "NaN",
        ),
        ({"messages": examples(1)[0]["messages"], "weight": float("inf")}, "Infinity"),
        ({}, "messages"),
    ],
)
def test_empty_rows_and_numbers_that_are_none_are_refused_with_their_line(
    make_run: MakeRun, row, told: str
) -> None:
    run, spec = make_run("run", "sft", NO_BASE, [*examples(2), row])
    with pytest.raises(Refused, match=f"Line 3: .*{told}") as refusal:
        rows.read(run, spec)
    assert refusal.value.code == "bad_row"

"""Faults that spoil a run without a word, planted one by one: each is found before the first step, by its name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from service.contract import folder
from service.contract.datasets import Example
from service.contract.jobs import TrainingSpec
from tests.training.conftest import TEMPLATE, MakeRun, Rows, examples, pairs, rated, start_run
from training import data, dpo, kto, model, reading_back, sft
from training.data import IGNORED, Chat, ExampleTokens
from training.refusal import Refused
from training.rows import NamedRow

pytestmark = pytest.mark.heavy

METHODS: dict[str, Any] = {"sft": sft, "dpo": dpo, "kto": kto}
ROWS = {"sft": examples, "dpo": pairs, "kto": rated}
TALK: Rows = [
    {
        "messages": [
            {"role": "system", "content": "You answer sailors."},
            {"role": "user", "content": f"Hello, this is boat {number}."},
            {"role": "assistant", "content": "Hello.", "weight": number % 2},
            {"role": "user", "content": "Which pier?"},
            {"role": "assistant", "content": f"Pier {number}."},
        ]
    }
    for number in range(8)
]


def refused(run: Path, spec: TrainingSpec) -> Refused:
    """What the run is refused for; it made no step."""
    with pytest.raises(Refused) as refusal:
        METHODS[spec.kind].train(run, spec)
    lines = list(folder.read_lines(run / folder.PROGRESS))
    assert not any("step" in line for line in lines)
    assert not (run / folder.ADAPTER).exists()
    return refusal.value


def in_collator(monkeypatch: pytest.MonkeyPatch, method: Any, change: Any) -> None:
    """Have the batches of a method's trainer spoiled by `change`."""
    made = method.make_trainer

    def spoiled(*given: Any) -> Any:
        trainer = made(*given)
        collate = trainer.data_collator
        trainer.data_collator = lambda rows: change(collate(rows))
        return trainer

    monkeypatch.setattr(method, "make_trainer", spoiled)


@pytest.mark.parametrize("kind", METHODS)
def test_sound_runs_are_let_through(kind: str, make_run: MakeRun, tiny_base: Path, start: Path) -> None:
    run, spec = make_run("run", kind, tiny_base, ROWS[kind](8), ROWS[kind](4, start=50), start)
    METHODS[kind].train(run, spec)
    assert (run / folder.REPORT).exists()


def test_conversations_of_several_turns_and_weights_are_let_through(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run, spec = make_run("run", "sft", tiny_base, TALK)
    sft.train(run, spec)


@pytest.mark.parametrize("train", [examples(6), TALK])
def test_user_tokens_in_the_loss(
    train: Rows, make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(chat: data.Chat, name: str, messages: Any) -> ExampleTokens:
        ids = chat.ids(messages)[:-1]
        return ExampleTokens(name, ids, list(ids))

    monkeypatch.setattr(data, "_example", everything)
    run, spec = make_run("run", "sft", tiny_base, train)
    refusal = refused(run, spec)
    assert refusal.code == "user_tokens_in_loss"
    assert "train.jsonl line 1" in refusal.message


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_user_tokens_in_the_loss_of_a_preference(
    kind: str, make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_collator(
        monkeypatch, METHODS[kind], lambda batch: {**batch, "completion_mask": batch["attention_mask"]}
    )
    run, spec = make_run("run", kind, tiny_base, ROWS[kind](6))
    assert refused(run, spec).code == "user_tokens_in_loss"


@pytest.mark.parametrize("kind", METHODS)
def test_padding_that_is_the_end_of_sequence_and_takes_it_out_of_the_loss(
    kind: str, make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What collators that go by the padding token do: huggingface/trl#1623."""

    def by_token(batch: dict[str, Any]) -> dict[str, Any]:
        padding = batch["input_ids"] == 2
        if "labels" in batch:
            return {**batch, "labels": batch["labels"].masked_fill(padding, IGNORED)}
        return {**batch, "completion_mask": batch["completion_mask"].masked_fill(padding, 0)}

    in_collator(monkeypatch, METHODS[kind], by_token)
    run, spec = make_run("run", kind, tiny_base, ROWS[kind](6))
    assert refused(run, spec).code == "pad_is_end_of_sequence"


def test_padding_in_the_loss(make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_labels(batch: dict[str, Any]) -> dict[str, Any]:
        padding = batch["attention_mask"] == 0
        return {**batch, "labels": torch.where(padding, batch["input_ids"], batch["labels"])}

    in_collator(monkeypatch, sft, all_labels)
    run, spec = make_run("run", "sft", tiny_base, examples(12))
    assert refused(run, spec).code == "padding_in_loss"


def test_an_answer_whose_end_is_never_learned(
    make_run: MakeRun, tiny_base: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(batch: dict[str, Any]) -> dict[str, Any]:
        last = (batch["labels"] == 2) & (batch["attention_mask"] == 1)
        return {**batch, "labels": batch["labels"].masked_fill(last, IGNORED)}

    in_collator(monkeypatch, sft, cut)
    loaded = model.load_chat

    def padded_by_another(base: Path) -> data.Chat:
        chat = loaded(base)
        chat.tokenizer.pad_token = "<|endoftext|>"
        return chat

    monkeypatch.setattr(model, "load_chat", padded_by_another)
    run, spec = make_run("run", "sft", tiny_base, examples(6))
    assert refused(run, spec).code == "no_end_of_sequence"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (TEMPLATE.replace("message.content", "message.name"), "leaves out"),
        ("{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>{% endif %}", "alike"),
        (TEMPLATE.replace("add_generation_prompt", "false"), "does not ask for an answer"),
    ],
)  # fmt: skip
def test_a_wrong_template(
    template: str, said: str, make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (base / "chat_template.jinja").write_text(template)
    run, spec = make_run("run", "sft", base, examples(6))
    refusal = refused(run, spec)
    assert refusal.code == "wrong_template"
    assert said in refusal.message


def test_an_adapter_to_start_from_that_was_made_with_another_template(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    manifest = folder.read_json(start / folder.MANIFEST)
    folder.write_json(start / folder.MANIFEST, manifest | {"template_sha256": "another"})
    run, spec = make_run("run", "dpo", tiny_base, pairs(6), start=start)
    refusal = refused(run, spec)
    assert (refusal.code, refusal.param) == ("wrong_template", "start_adapter")


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_reference_that_is_the_base_model_instead_of_the_adapter_started_from(
    kind: str, make_run: MakeRun, tiny_base: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface/trl#1340."""
    method = METHODS[kind]
    made = method.make_trainer

    def of_the_base(run: Path, spec: TrainingSpec, *more: Any) -> Any:
        without = made(run, spec.model_copy(update={"start_adapter": None}), *more)
        trainer = made(run, spec, *more)
        trainer.train_dataset = without.train_dataset
        return trainer

    monkeypatch.setattr(method, "make_trainer", of_the_base)
    run, spec = make_run("run", kind, tiny_base, ROWS[kind](6), start=start)
    refusal = refused(run, spec)
    assert refusal.code == "wrong_reference"
    assert "the adapter that the job starts from" in refusal.message


def test_a_missing_value_saved_as_text(make_run: MakeRun, tiny_base: Path) -> None:
    rows = examples(6)
    rows[3]["messages"][1]["content"] = "NaN"
    run, spec = make_run("run", "sft", tiny_base, rows)
    refusal = refused(run, spec)
    assert (refusal.code, refusal.param) == ("nan_row", "train.jsonl line 4")


def test_a_missing_value_among_the_held_out_rows_and_as_a_question(
    make_run: MakeRun, tiny_base: Path
) -> None:
    held_out, asked = examples(3, start=50), examples(6)
    held_out[1]["messages"][1]["content"] = asked[2]["messages"][0]["content"] = "nan"
    refusal = refused(*make_run("held", "sft", tiny_base, examples(6), held_out))
    assert (refusal.code, refusal.param) == ("nan_row", "validation.jsonl line 2")
    refusal = refused(*make_run("asked", "sft", tiny_base, asked))
    assert (refusal.code, refusal.param) == ("nan_row", "train.jsonl line 3")


def test_what_a_template_begins_an_answer_with_is_nobody_s_words(tokenizer: Any) -> None:
    chat = Chat(tokenizer, frozenset({2}))
    thinks = "<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n"
    kept = chat.tokenizer.chat_template
    chat.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}" + "{{ '" + thinks + "' + m.content + '<|im_end|>\\n' }}"
        "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )  # fmt: skip
    try:
        said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Good morning."}]
        row = NamedRow("train.jsonl line 1", Example.model_validate({"messages": said}))
        [made] = data.examples(chat, [row], 100)
        stretches = reading_back.stretches(made.input_ids, [label != data.IGNORED for label in made.labels])
        assert "</think>" in chat.tokenizer.decode(stretches[0])
        reading_back.check_loss(chat, row.name, row.row, reading_back.answers(row.row), stretches)
        early = [[*made.input_ids[1:], *stretches[0]]]
        with pytest.raises(Refused, match="are not the assistant's") as refusal:
            reading_back.check_loss(chat, row.name, row.row, reading_back.answers(row.row), early)
        assert refusal.value.code == "user_tokens_in_loss"
    finally:
        chat.tokenizer.chat_template = kept
        reading_back._put_before.cache_clear()


def test_a_missing_value_saved_as_a_number(make_run: MakeRun, tiny_base: Path) -> None:
    rows = rated(6)
    rows[2]["score"] = float("nan")
    run, spec = make_run("run", "kto", tiny_base, rows)
    refusal = refused(run, spec)
    assert refusal.code == "bad_row"
    assert "Line 3: NaN is no value of JSON" in refusal.message


@pytest.mark.parametrize("kind", METHODS)
def test_a_model_that_computes_no_numbers(
    kind: str, make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = model.load_base

    def broken(*given: Any) -> Any:
        base = loaded(*given)
        base.model.embed_tokens.weight.data[5:] = float("nan")
        return base

    monkeypatch.setattr(model, "load_base", broken)
    run, spec = make_run("run", kind, tiny_base, ROWS[kind](6))
    assert refused(run, spec).code == "nan_row"


def test_a_check_by_hand_finds_the_fault_trains_nothing_and_writes_nothing(
    make_run: MakeRun, tiny_base: Path
) -> None:
    rows = examples(6)
    for name, code, said in (
        ("sound", 0, "No fault was found"),
        ("spoiled", 1, "nan_row: train.jsonl line 2"),
    ):
        run, _ = make_run(name, "sft", tiny_base, rows)
        before = {file.name for file in run.iterdir()}
        process = start_run(run, "--check")
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        assert said in output
        assert {file.name for file in run.iterdir()} == before
        rows = json.loads(json.dumps(rows))
        rows[1]["messages"][1]["content"] = "nan"

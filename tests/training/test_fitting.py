"""A row of feedback that cannot be learned from is left out and counted; anybody else's is refused by its name."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.contract import folder
from service.contract.datasets import RatedCompletion
from service.contract.estimates import Look
from tests.training.conftest import MakeRun, examples, pairs, rated
from training import data, estimates, kto, model, rows, sft
from training.fitting import fitting, matched, unfit
from training.progress import StepLines
from training.refusal import Refused

ROWS = {"sft": examples, "dpo": pairs, "kto": rated}


def origin(number: int) -> dict[str, Any]:
    return {
        "completion_id": f"chatcmpl-{number}", "feedback_id": f"fb-{number}", "person": "p", "release": None,
        "adapter": "base", "sampling": {}, "conversation": f"conv-{number}",
    }  # fmt: skip


def spoiled(kind: str, *, feedback: bool) -> list[dict[str, Any]]:
    """Five rows, of which the second is too long and the fourth holds what ends an answer."""
    made = ROWS[kind](6)[:5]
    for number, text in ((1, " and so on" * 300), (3, "<|im_end|>")):
        row = made[number]
        answer = (
            row["messages"]
            if kind == "sft"
            else row["preferred_output"]
            if kind == "dpo"
            else row["completion"]
        )
        answer[-1]["content"] += text
    return [row | {"tailorbird": origin(at)} for at, row in enumerate(made)] if feedback else made


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_feedback_that_do_not_fit_are_left_out_and_told(
    make_run: MakeRun, tiny_base: Path, kind: str
) -> None:
    run, spec = make_run("run", kind, tiny_base, spoiled(kind, feedback=True), max_length=256)
    chat, told = model.load_chat(tiny_base), []
    assert [chat.tokenizer.decode([token]) for token in chat.stops] == ["<|im_end|>"]
    found = fitting(chat, rows.read(run, spec), spec, lambda *said, **values: told.append((*said, values)))
    assert [named.name[-1] for named in found.train] == ["1", "3", "5"]
    assert told[0][0].startswith("2 rows of feedback are longer than 256 tokens")
    assert told[0][1:] == ("unfit", {"n": 2, "most": 256})
    look = estimates.look(run, spec)
    assert (look.unfit, look.too_long, look.findings, len(look.shown)) == (2, 0, [], 3)


@pytest.mark.parametrize("kind", ROWS)
def test_the_same_rows_of_a_file_are_refused_by_name(make_run: MakeRun, tiny_base: Path, kind: str) -> None:
    run, spec = make_run("run", kind, tiny_base, spoiled(kind, feedback=False), max_length=256)
    chat, found = model.load_chat(tiny_base), rows.read(run, spec)
    assert fitting(chat, found, spec, print) == found
    looked: Look = estimates.look(run, spec)
    assert {one.code for one in looked.findings} == {"row_too_long", "end_of_turn_inside"}


def test_where_no_row_fits_the_first_is_refused(make_run: MakeRun, tiny_base: Path) -> None:
    long = [row for at, row in enumerate(spoiled("sft", feedback=True)) if at == 1]
    run, spec = make_run("run", "sft", tiny_base, long, max_length=256)
    chat, found = model.load_chat(tiny_base), rows.read(run, spec)
    with pytest.raises(Refused, match="line 1 is .* tokens long") as refusal:
        fitting(chat, found, spec, print)
    assert refusal.value.code == "row_too_long"
    assert unfit(chat, found.train[0], spec) is not None


@pytest.mark.parametrize("feedback", [True, False])
def test_a_rating_behind_whose_prompt_no_other_answer_fits_stops_no_round(
    make_run: MakeRun, tiny_base: Path, *, feedback: bool
) -> None:
    made = [copy.deepcopy(one) for one in rated(8)]
    made[2]["prompt"][-1]["content"] += " and so on" * 40
    made[2]["completion"][0]["content"] = "No."
    chat = model.load_chat(tiny_base)
    [row] = data.rated(chat, [rows.NamedRow("one", RatedCompletion.model_validate(made[2]))], 10_000)
    if feedback:
        made = [one | {"tailorbird": origin(at)} for at, one in enumerate(made)]
    run, spec = make_run("run", "kto", tiny_base, made, max_length=row.length)
    look = estimates.look(run, spec)
    if not feedback:
        assert [(one.code, one.row) for one in look.findings] == [("no_mismatch", "train.jsonl line 3")]
        with pytest.raises(Refused, match="train.jsonl line 3"):
            kto.prepare(run, spec, StepLines(run))
        return
    assert look.findings == []
    ready = kto.prepare(run, spec, StepLines(run))
    assert len(ready.learned) == len(ready.found.train) == len(ready.trainer.train_dataset) == 7
    assert "unmatched" in [line.get("code") for line in folder.read_lines(run / folder.PROGRESS)]


def test_a_rating_that_only_one_left_out_was_held_against_is_left_out_too(
    make_run: MakeRun, tiny_base: Path
) -> None:
    made = [row | {"tailorbird": origin(at)} for at, row in enumerate(rated(8))]
    run, spec = make_run("run", "kto", tiny_base, made, max_length=100)
    chat, found, told = model.load_chat(tiny_base), rows.read(run, spec), []
    learned = data.rated(chat, found.train, 10_000)

    def sized(at: int, prompt: int, answer: int) -> None:
        given = replace(learned[at], prompt_ids=[at] * prompt, completion_ids=[at] * answer)
        learned[at] = given

    for at in range(8):
        sized(at, 20, 8)
    sized(0, 94, 5)  # only the next one's answer fits behind it
    sized(1, 97, 2)  # and nobody's behind the next one
    rest, kept, _ = matched(found, learned, [], spec, lambda *said, **values: told.append((*said, values)))
    assert [row.name[-1] for row in kept] == [row.name[-1] for row in rest.train] == list("345678")
    assert told[0][1:] == ("unmatched", {"n": 2, "most": 100})


def test_feedback_on_a_conversation_that_the_template_does_not_take_is_left_out_however_short_it_is(
    make_run: MakeRun, tiny_base: Path
) -> None:
    made = [row | {"tailorbird": origin(at)} for at, row in enumerate(examples(4))]
    made[2]["messages"] = [{"role": "user", "content": "Hello?"}, *made[2]["messages"]]
    run, spec = make_run("run", "sft", tiny_base, made, max_length=256)
    chat = model.load_chat(tiny_base)
    kept = chat.tokenizer.chat_template
    takes_turns = "{% if messages[1].role == 'user' %}{{ raise_exception('take turns') }}{% endif %}"
    chat.tokenizer.chat_template = takes_turns + kept
    try:
        found = fitting(chat, rows.read(run, spec), spec, lambda *_, **__: None)
    finally:
        chat.tokenizer.chat_template = kept
    assert [named.name[-1] for named in found.train] == ["1", "2", "4"]


def test_a_job_learns_from_the_rest_and_says_so(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("run", "sft", tiny_base, spoiled("sft", feedback=True), max_length=256)
    ready = sft.prepare(run, spec, StepLines(run))
    assert len(ready.learned) == len(ready.found.train) == len(ready.trainer.train_dataset) == 3
    assert "unfit" in [line.get("code") for line in folder.read_lines(run / folder.PROGRESS)]

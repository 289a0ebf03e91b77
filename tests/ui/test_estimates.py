"""How an estimate is said: settings, time and memory in plain words, faults with their mend, tokens told apart."""

from typing import Any, get_args

import pytest

from service.contract.estimates import (
    Estimate,
    Finding,
    Look,
    Range,
    Servable,
    ShownRow,
    ShownSequence,
    ShownToken,
)
from service.contract.jobs import ChosenCode
from service.domain.hyperparameters import because
from ui import estimates
from ui.words import words

LANGUAGES = ("en", "fr")
EN = words("en")


def sequence(says: str = "example", omitted: int = 0) -> ShownSequence:
    tokens = [ShownToken(text="<user>", loss=False), ShownToken(text="Wh\n", loss=False, end=True)]
    tokens += [ShownToken(text=" at <b>", loss=True), ShownToken(text="<|end|>", loss=True, end=True)]
    return ShownSequence.model_validate({"says": says, "tokens": tokens, "omitted": omitted})


def estimate(**change: Any) -> Estimate:
    look: dict[str, Any] = {
        "kind": "dpo", "rows": 1200, "rows_looked_at": 1000, "sampled": False, "tokens": 15_000,
        "tokens_with_loss": 5000, "longest": 200, "max_length": 1024, "too_long": 0, "steps": 600,
        "end_learned": True, "trained_as_served": True, "template_sha256": "t" * 64, "base_sha256": "b", "findings": [],
        "not_looked_at": ["wrong_reference"], "rank": 16, "shape": None, "replay_rows": 24,
        "memory_bytes": 1,
        "shown": [ShownRow(row="train.jsonl line 12", sequences=[sequence("preferred"), sequence("non_preferred", 7)])],
    }  # fmt: skip
    look |= change.pop("look", {})
    fields: dict[str, Any] = {
        "model": "fanal", "method": "dpo", "seed": 0, "held_out": 3, "ready": not look["findings"],
        "notes": ["A note."],
        "hyperparameters": {
            "n_epochs": 2, "batch_size": 4, "beta": 0.1, "early_stopping_patience": 0, "replay": 0.25,
            "loss_type": "s",
        },
        "chosen": {
            "n_epochs": {"because": "Sent.", "code": "few_passes"}, "beta": {"because": "Sent.", "code": "beta_dpo"},
            "early_stopping_patience": {"because": "Sent.", "code": "few_held_out", "values": {"held_out": 3}},
            "replay": {"because": "Sent.", "code": "replay_later", "values": {"every": 4}},
        },
        "rendering": {"state": "same", "prompts": 8, "sha256": "c" * 64, "because": "Sent."},
        "look": Look.model_validate(look), "servable": Servable(rank=True, max_rank=16, modules=None),
        "seconds": Range(low=95, high=5000, basis="earlier_jobs", jobs=3, confidence="medium", because="Sent."),
        "memory_bytes": Range(low=1.24e9, high=2.0e9, basis="formula", confidence="guess", because="Sent."),
    }  # fmt: skip
    return Estimate.model_validate(fields | change)


@pytest.mark.parametrize("language", LANGUAGES)
def test_settings_are_said_without_a_specialists_words_and_each_with_its_reason(language: str):
    w = words(language)
    found = {one.name: one for one in estimates.settings(w, estimate())}
    assert list(found) == ["n_epochs", "batch_size", "beta", "early_stopping_patience", "replay"]
    assert found["n_epochs"].why == w("because_few_passes")
    assert found["batch_size"].why == w("because_you")  # nobody else gave a reason
    assert found["early_stopping_patience"].what == w("how_early_stopping_patience_off")
    assert "3" in found["early_stopping_patience"].why
    assert "(24)" in found["replay"].what
    told = " ".join(f"{one.what} {one.why}" for one in found.values()).lower()
    assert not [
        word for word in ("lora", "dpo", "epoch", "beta", "token", "loss", "hyper") if word in told.split()
    ]


def test_time_and_memory_are_ranges_in_words_and_say_how_sure_they_are():
    time, memory = estimates.seconds(EN, estimate()), estimates.memory(EN, estimate())
    assert (time.text, time.sure) == ("2 to 83 minutes", "fairly sure: from 3 earlier trainings")
    assert (memory.text, memory.sure) == ("1.2 to 2.0 GB", "a rough guess")
    assert estimates.memory(words("fr"), estimate()).text == "de 1,2 à 2,0 Go"
    none = estimates.seconds(EN, estimate(seconds=Range(basis="none", confidence="none", because="Sent.")))
    assert (none.text, none.confidence) == ("not known", "none")
    short = estimates.seconds(
        EN, estimate(seconds=Range(low=0.2, high=44, basis="formula", confidence="guess", because="Sent."))
    )
    assert short.text == "1 to 40 seconds"
    long = estimates.seconds(
        EN, estimate(seconds=Range(low=5399, high=8000, basis="formula", confidence="guess", because="Sent."))
    )
    assert long.text == "90 minutes to 2 hours"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fault_has_a_name_a_place_and_a_mend_and_one_we_have_no_words_for_is_told_as_sent(language: str):
    w = words(language)
    faults = [
        Finding(code="nan_row", message="Sent one.", row="train.jsonl line 12", rows=3),
        Finding(code="a_new_fault", message="Sent two.", row="train.jsonl, the row at byte 7"),
    ]
    servable = Servable(rank=False, max_rank=8, modules=False, not_served=["q_proj"])
    found = estimates.faults(w, estimate(look={"findings": faults}, servable=servable))
    assert [one.code for one in found] == ["nan_row", "a_new_fault", "rank", "modules"]
    assert (found[0].title, found[0].mend) == (w("fault_nan_row"), w("mend_fault_nan_row"))
    assert found[0].where == w("at_first", where=w("at_line", line=12), rows=3)
    assert (found[1].title, found[1].sent) == ("", "Sent two.")
    assert found[1].where == "train.jsonl, the row at byte 7"
    assert "8" in found[2].mend


def test_tokens_that_are_learned_stand_apart_and_the_gap_of_a_long_row_is_where_it_was_cut():
    told = [(run.learned, [token.text for token in run.tokens]) for run in estimates.runs(sequence())]
    assert told == [(False, ["<user>", "Wh\n"]), (True, [" at <b>", "<|end|>"])]
    cut = [run.tokens and run.learned for run in estimates.runs(sequence(omitted=5))]
    assert cut == [False, [], True]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", get_args(ChosenCode))
def test_every_reason_of_a_setting_is_said_with_its_own_values(language: str, code: ChosenCode):
    values = {"rows": 3, "rate": 0.1, "held_out": 4, "rank": 16, "every": 4, "most": 64, "processes": 3}
    chosen = because(code, **values).model_dump()
    [said] = [one for one in estimates.settings(words(language), estimate(chosen={"batch_size": chosen})) if one.why
              and one.name == "batch_size"] or [None]  # fmt: skip
    assert said is None or "{" not in said.why
    assert code != "batch_divided" or (said is not None and "3" in said.why)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_line_of_the_rows_kept_aside_is_told_as_such(language: str):
    w = words(language)
    assert estimates.where(w, "validation.jsonl line 3") == w("at_line_held_out", line=3)
    assert estimates.where(w, "train.jsonl line 3") == w("at_line", line=3)

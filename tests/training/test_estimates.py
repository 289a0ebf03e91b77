"""What is seen of a run before it is a job: its tokens as the trainer makes them, its faults by name, its adapter."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint, folder
from service.contract.estimates import Look
from service.contract.fingerprint import base_sha256
from service.contract.jobs import Manifest
from tests.training.conftest import MakeRun, examples, pairs, rated, start_run
from training import data, estimates, model, rows
from training.refusal import Refused

pytestmark = pytest.mark.heavy

ROWS = {"sft": examples, "dpo": pairs, "kto": rated}
LONG = {
    "messages": [{"role": "user", "content": "Where? " * 200}, {"role": "assistant", "content": "There."}]
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_sound_file_has_no_fault_and_the_trainers_own_tokens(
    kind: str, make_run: MakeRun, tiny_base: Path
) -> None:
    run, spec = make_run(
        "run", kind, tiny_base, ROWS[kind](10), ROWS[kind](4, start=50), n_epochs=3, replay=0.5
    )
    look = estimates.look(run, spec)
    make: Any = {"sft": data.examples, "dpo": data.pairs, "kto": data.rated}[kind]
    tokens = make(model.load_chat(tiny_base), rows.read(run, spec).train, 512)
    assert look.findings == []
    assert (look.rows, look.rows_looked_at, look.sampled) == (10, 10, False)
    assert look.tokens == sum(token.read for token in tokens)
    assert look.tokens_with_loss == sum(token.learned for token in tokens)
    assert (look.longest, look.too_long, look.truncated) == (max(token.length for token in tokens), 0, 0)
    assert look.steps == 9  # three passes of 4 + 4 + 2 rows
    assert (look.replay_rows, look.replay_reads) == (18, 18)
    assert look.end_learned
    assert look.trained_as_served
    assert look.template_sha256 == fingerprint.template_sha256(tiny_base)


def test_the_shown_tokens_are_the_row_and_only_the_answer_and_its_end_carry_loss(
    make_run: MakeRun, tiny_base: Path
) -> None:
    look = estimates.look(*make_run("run", "sft", tiny_base, examples(9)))
    assert [row.row for row in look.shown] == [f"train.jsonl line {n}" for n in (1, 5, 9)]
    [sequence] = look.shown[0].sequences
    learned = "".join(token.text for token in sequence.tokens if token.loss)
    told = "".join(token.text for token in sequence.tokens if not token.loss)
    assert learned == "Ferry 0 leaves from pier 0.<|im_end|>"
    assert told == "<|im_start|>user\nWhere does ferry 0 leave?<|im_end|>\n<|im_start|>assistant\n"
    assert (sequence.says, sequence.omitted) == ("example", 0)


def test_both_answers_of_a_pair_are_shown_and_a_long_row_without_its_middle(
    make_run: MakeRun, tiny_base: Path
) -> None:
    look = estimates.look(*make_run("pairs", "dpo", tiny_base, pairs(4)))
    assert [sequence.says for sequence in look.shown[0].sequences] == ["preferred", "non_preferred"]
    look = estimates.look(*make_run("long", "sft", tiny_base, [LONG], max_length=10_000))
    [sequence] = look.shown[0].sequences
    assert len(sequence.tokens) == estimates.SHOWN_TOKENS
    assert sequence.omitted == look.longest - estimates.SHOWN_TOKENS
    assert sequence.tokens[-1].text == "<|im_end|>"


def test_faults_are_told_by_name_with_the_first_row_and_how_many(make_run: MakeRun, tiny_base: Path) -> None:
    spoiled = json.loads(json.dumps(examples(5)))
    spoiled[1]["messages"][1]["content"] = "nan"
    spoiled[3]["messages"][1]["content"] = "NaN"
    spoiled[2]["messages"][1]["content"] = "Pier <|im_end|> 3."
    look = estimates.look(*make_run("run", "sft", tiny_base, [*spoiled, LONG], max_length=200))
    found = {finding.code: (finding.row, finding.rows) for finding in look.findings}
    assert found == {
        "nan_row": ("train.jsonl line 2", 2),
        "end_of_turn_inside": ("train.jsonl line 3", 1),
        "row_too_long": ("train.jsonl line 6", 1),
    }
    assert (look.too_long, look.truncated) == (1, 0)
    assert not look.end_learned
    assert look.trained_as_served


def test_held_out_rows_and_labels_of_one_kind_are_found(make_run: MakeRun, tiny_base: Path) -> None:
    look = estimates.look(*make_run("leak", "sft", tiny_base, examples(4), examples(1)))
    assert [finding.code for finding in look.findings] == ["held_out_in_training"]
    good = [row for row in rated(8) if row["label"]]
    look = estimates.look(*make_run("good", "kto", tiny_base, good))
    assert [finding.code for finding in look.findings] == ["one_label"]


def test_rows_without_instructions_are_counted(make_run: MakeRun, tiny_base: Path) -> None:
    made = [*examples(4), *examples(2, start=7)]
    made[0]["messages"].insert(0, {"role": "system", "content": "Be brief."})
    made[5]["messages"].insert(0, {"role": "developer", "content": "Be brief."})
    assert estimates.look(*make_run("run", "sft", tiny_base, made)).without_instructions == 4


def test_held_out_rows_are_looked_at_as_the_job_will(make_run: MakeRun, tiny_base: Path) -> None:
    held_out = examples(3, start=50)
    held_out[0]["messages"][1]["content"] = "nan"
    held_out[2]["messages"][1]["content"] = "word " * 400
    look = estimates.look(*make_run("run", "sft", tiny_base, examples(4), held_out, max_length=256))
    assert {(one.code, one.row) for one in look.findings} == {
        ("nan_row", "validation.jsonl line 1"), ("row_too_long", "validation.jsonl line 3"),
    }  # fmt: skip
    assert look.rows == look.rows_looked_at == 4
    assert look.too_long == 0  # of the rows to learn from
    held_out[0]["messages"][0] = examples(1)[0]["messages"][0]
    held_out[2]["messages"][0] = examples(2)[1]["messages"][0]
    look = estimates.look(*make_run("asked", "sft", tiny_base, examples(4), held_out, max_length=256))
    assert (look.findings, look.set_aside) == ([], 2)  # the job sets them aside, unread


def test_a_template_that_leaves_the_answers_end_out_is_named(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data._example

    def endless(*given: Any) -> data.ExampleTokens:
        row = made(*given)
        return data.ExampleTokens(row.name, row.input_ids[:-1], row.labels[:-1])

    monkeypatch.setattr(data, "_example", endless)
    look = estimates.look(*make_run("run", "sft", tiny_base, examples(3)))
    assert [(finding.code, finding.rows) for finding in look.findings] == [("pad_is_end_of_sequence", 3)]
    assert not look.end_learned


def test_the_adapters_parameters_are_those_that_the_trainer_makes(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("run", "sft", tiny_base, examples(4))
    look = estimates.look(run, spec)
    policy = model.load_policy(spec)
    made = [value for value in policy.parameters() if value.requires_grad]
    assert look.shape is not None
    assert look.shape.parameters == sum(value.numel() for value in made)
    assert sum(look.shape.modules.values()) * 2 == len(made)
    assert look.rank == 4
    assert look.memory_bytes is not None


@pytest.mark.parametrize("fault", ["none", "weights", "rank", "scale", "base", "template"])
def test_an_adapter_to_start_from_is_refused_with_the_words_of_the_job(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path, fault: str
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / fingerprint.ADAPTER_WEIGHTS).write_bytes(b"")
    run, spec = make_run("run", "sft", tiny_base, examples(4), start=start)
    shape = {"r": spec.settings.lora_rank, "lora_alpha": spec.settings.lora_alpha}
    config = shape | {"r": 99 if fault == "rank" else shape["r"], "use_rslora": fault == "scale"}
    folder.write_json(start / fingerprint.ADAPTER_CONFIG, config)
    manifest = Manifest(
        kind="sft", base_model="tiny", base_sha256=base_sha256(tiny_base), train_sha256="0" * 64,
        template_sha256=fingerprint.template_sha256(tiny_base), parent=None, job="ftjob-1", settings=spec.settings,
        versions={}, created_at=1,
    )  # fmt: skip
    other = {f"{fault}_sha256": "f" * 64} if fault in ("base", "template") else {}
    folder.write_json(start / folder.MANIFEST, manifest.model_dump() | other)
    if fault == "weights":
        (start / fingerprint.ADAPTER_WEIGHTS).unlink()
    look = estimates.look(run, spec)
    assert look.trained_as_served
    if fault == "none":
        assert look.findings == []
        return
    with pytest.raises(Refused) as refusal:
        model.load_policy(spec)
    [finding] = look.findings
    assert (finding.code, finding.message) == (refusal.value.code, refusal.value.message)
    assert finding.code == ("wrong_template" if fault == "template" else "bad_start_adapter")


def test_a_large_file_is_sampled_and_a_long_one_is_tokenised_in_part(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec = make_run("run", "sft", tiny_base, examples(100, start=100))
    whole = estimates.look(run, spec)
    monkeypatch.setattr(estimates, "ROWS", 20)
    part = estimates.look(run, spec)
    assert (part.rows, part.rows_looked_at, part.sampled) == (100, 20, False)
    assert part.tokens == pytest.approx(whole.tokens, rel=0.05)
    monkeypatch.setattr(estimates, "WHOLE", 1500)
    sampled = estimates.look(run, spec)
    assert sampled.sampled
    assert 5 < sampled.rows_looked_at <= 20
    assert len({row.row for row in sampled.shown}) == 3
    assert sampled.rows == pytest.approx(100, rel=0.05)
    assert sampled.tokens == pytest.approx(whole.tokens, rel=0.05)
    assert "held_out_in_training" in sampled.not_looked_at
    assert "held_out_in_training" not in whole.not_looked_at


def test_a_large_held_out_file_is_not_read_and_that_is_told(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec = make_run("run", "sft", tiny_base, examples(3), examples(30))
    assert estimates.look(run, spec).findings
    monkeypatch.setattr(estimates, "WHOLE", 1000)
    look = estimates.look(run, spec)
    assert (look.findings, look.sampled) == ([], False)
    assert "held_out_in_training" in look.not_looked_at


def test_where_nothing_can_be_seen_the_look_is_refused(make_run: MakeRun, tiny_base: Path) -> None:
    for base, code in ((Path("/nowhere"), "bad_base_model"), (tiny_base, "wrong_sha256")):
        run, spec = make_run(code, "sft", base, examples(3))
        (run / folder.TRAIN).write_text("")
        with pytest.raises(Refused) as refusal:
            estimates.look(run, spec)
        assert refusal.value.code == code


def test_by_hand_the_look_and_a_few_prompts_lie_in_the_folder_and_nothing_else_changes(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run, _ = make_run("run", "sft", tiny_base, examples(4))
    before = {file.name for file in run.iterdir()}
    process = start_run(run, "--check", "--quick")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "0 faults were found without weights" in output
    assert {file.name for file in run.iterdir()} == before | {folder.ESTIMATE, folder.PROMPTS}
    assert Look.model_validate(folder.read_json(run / folder.ESTIMATE)).rows == 4
    (run / folder.TRAIN).unlink()
    process = start_run(run, "--check", "--quick")
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert folder.read_json(run / folder.ERROR)["code"] == "file_missing"
    assert not (run / folder.ESTIMATE).exists()

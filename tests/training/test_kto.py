"""What KTO is held to: the right reference, a KL estimate of true mismatches, and ratings that are learned."""

import signal
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint, folder
from service.contract.jobs import Manifest, Progress, ProofCase, TrainingReport, TrainingSpec
from tests.training.conftest import MakeRun, rated, start_run, until
from training import data, kto, model, proof, rows
from training.progress import StepLines
from training.refusal import Refused
from training.shared_prefix import ATTENTION

pytestmark = pytest.mark.heavy


def _trainer(run: Path, spec: TrainingSpec) -> Any:
    chat = model.load_chat(Path(spec.base_model))
    found = rows.read(run, spec)
    learned = data.in_turn(data.rated(chat, found.train, 500), spec.settings.seed)
    held_out = data.rated(chat, found.held_out, 500)
    return kto.make_trainer(run, spec, chat, learned, held_out, StepLines(run))


def _logprob(policy: Any, row: dict[str, Any], answer: str = "completion_ids") -> float:
    """Of a whole answer, computed apart from TRL, alone and unpadded."""
    return sum(proof.logprobs(policy, row["prompt_ids"], row[answer]))


@pytest.mark.parametrize("started", [False, True])
def test_before_the_first_step_policy_and_reference_are_one(
    started: bool, make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(8), rated(6, start=50), start if started else None)
    figures = _trainer(run, spec).evaluate()
    assert figures["eval_rewards/desirable"] == pytest.approx(0, abs=0.01)
    assert figures["eval_rewards/undesirable"] == pytest.approx(0, abs=0.01)
    assert figures["eval_kl"] == pytest.approx(0, abs=0.1)
    assert figures["eval_loss"] == pytest.approx(0.5, abs=0.01)


def test_the_reference_is_the_start_adapter_and_not_the_bare_base(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(8), start=start)
    trainer = _trainer(run, spec)
    row = trainer.train_dataset[0]
    trainer.model.eval()
    assert row["ref_logps"] == pytest.approx(_logprob(trainer.model, row), abs=0.2)
    assert row["ref_KL_logps"] == pytest.approx(_logprob(trainer.model, row, "KL_completion_ids"), abs=0.2)
    with trainer.model.disable_adapter():
        assert abs(row["ref_logps"] - _logprob(trainer.model, row)) > 1


def test_training_moves_the_policy_and_leaves_the_reference(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(8), start=start)
    trainer = _trainer(run, spec)

    def weights(name: str) -> dict[str, Any]:
        return {key: value.clone() for key, value in trainer.model.named_parameters() if f".{name}." in key}

    policy, reference = weights("default"), weights("ref")
    assert reference
    trainer.train()
    assert all((weights("ref")[key] == value).all() for key, value in reference.items())
    assert any((weights("default")[key] != value).any() for key, value in policy.items())


def test_what_was_rated_good_gets_likelier_than_the_reference_finds_it_and_what_was_rated_bad_less(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(24), rated(8, start=60), start, n_epochs=6)
    trainer = _trainer(run, spec)
    trainer.train()
    trainer.model.eval()
    for row in trainer.eval_dataset:
        change = _logprob(trainer.model, row) - row["ref_logps"]
        assert change > 0 if row["label"] else change < 0, (change, row)


def test_held_out_figures_are_those_of_each_row_computed_alone(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    """So folding shared prefixes, padding and batches change none of them."""
    import torch

    run, spec = make_run("run", "kto", tiny_base, rated(8), rated(7 * 2, start=60)[:7], start)
    trainer = _trainer(run, spec)
    trainer.train()
    assert trainer.model.get_base_model().config._attn_implementation == ATTENTION, "nothing was folded"
    figures = trainer.evaluate()
    held_out = list(trainer.eval_dataset)
    ratios = torch.tensor([_logprob(trainer.model, row) - row["ref_logps"] for row in held_out])
    kl = sum(
        _logprob(trainer.model, row, "KL_completion_ids") - row["ref_KL_logps"] for row in held_out
    ) / len(held_out)
    labels = torch.tensor([row["label"] for row in held_out])
    beta = spec.settings.beta
    assert figures["eval_kl"] == pytest.approx(max(0.0, kl), abs=0.2)
    assert figures["eval_rewards/desirable"] == pytest.approx(beta * ratios[labels].mean().item(), abs=0.05)
    assert figures["eval_rewards/undesirable"] == pytest.approx(
        beta * ratios[~labels].mean().item(), abs=0.05
    )


def test_a_forward_pass_holds_more_than_one_row_however_long_the_rows_are(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "MICRO_TOKENS", 1)
    run, spec = make_run("run", "kto", tiny_base, rated(6), batch_size=4)
    assert _trainer(run, spec).args.per_device_train_batch_size == 2


def test_an_odd_batch_is_refused(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(6), batch_size=3)
    with pytest.raises(Refused, match="even number") as refusal:
        _trainer(run, spec)
    assert refusal.value.param == "batch_size"


def test_exactly_the_answer_and_its_end_count_although_the_end_is_the_padding(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run, spec = make_run("run", "kto", tiny_base, rated(4))
    trainer = _trainer(run, spec)
    given = list(trainer.train_dataset)
    batch = trainer.data_collator(given)
    for prefix, answer in (("", "completion_ids"), ("KL_", "KL_completion_ids")):
        for at, row in enumerate(given):
            counted = batch[f"{prefix}input_ids"][at][batch[f"{prefix}completion_mask"][at].bool()]
            assert counted.tolist() == row[answer]
            assert row[answer][-1] == trainer.processing_class.eos_token_id


def test_the_result_is_one_adapter_that_tells_good_from_bad_with_its_manifest_and_figures(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    from safetensors import safe_open

    train, held_out = rated(24), rated(6, start=60)
    run, spec = make_run("run", "kto", tiny_base, train, held_out, start, n_epochs=6)
    kto.train(run, spec)
    with safe_open(run / "adapter" / fingerprint.ADAPTER_WEIGHTS, framework="pt") as file:
        assert all("lora_" in key and "ref" not in key.split(".") for key in file.keys())
    manifest = Manifest.model_validate(folder.read_json(run / "adapter" / folder.MANIFEST))
    assert (manifest.kind, manifest.parent) == ("kto", "sha256-of-start")
    assert len([ProofCase.model_validate(line) for line in folder.read_lines(run / folder.PROOF)]) == 6
    figures = TrainingReport.model_validate(folder.read_json(run / folder.REPORT)).metrics
    assert figures["reward_accuracy_before"] < figures["reward_accuracy"] == 1
    assert figures["reward_desirable"] > 0 > figures["reward_undesirable"]
    assert figures["reward_margin"] > figures["reward_margin_before"]
    assert figures["valid_loss"] < figures["valid_loss_before"]
    assert figures["logp_desirable"] > figures["logp_desirable_before"]
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    assert all(
        {"train_loss", "reward_desirable", "reward_undesirable", "logp_desirable", "kl"}
        <= line.metrics.keys()
        for line in lines
        if "train_loss" in line.metrics
    )
    assert any("12 are desirable and count 1 each" in (line.message or "") for line in lines)


def test_a_stopped_run_leaves_no_report_and_no_half_adapter(make_run: MakeRun, tiny_base: Path) -> None:
    run, _ = make_run("run", "kto", tiny_base, rated(12), n_epochs=50_000)
    process = start_run(run)
    until(run, process, 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    left = {file.name for file in run.iterdir() if folder.PASS not in file.name}
    assert left == {folder.JOB, folder.TRAIN, folder.PROGRESS, folder.PROMPTS, folder.REPLAY}

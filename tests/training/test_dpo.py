"""What DPO is held to: the right reference, one adapter as the result, and preferences that are learned."""

import math
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint, folder
from service.contract.jobs import Manifest, TrainingReport, TrainingSpec
from tests.training.conftest import MakeRun, pairs
from training import data, dpo, model, proof, rows
from training.progress import StepLines

pytestmark = pytest.mark.heavy


def _trainer(run: Path, spec: TrainingSpec) -> Any:
    chat = model.load_chat(Path(spec.base_model))
    found = rows.read(run, spec)
    learned = data.pairs(chat, found.train, 500)
    held_out = data.pairs(chat, found.held_out, 500)
    return dpo.make_trainer(run, spec, chat, learned, held_out, StepLines(run))


def _logprob(policy: Any, row: dict[str, Any], answer: str) -> float:
    """Of a whole answer, computed apart from TRL."""
    return sum(proof.logprobs(policy, row["prompt_ids"], row[answer]))


@pytest.mark.parametrize("started", [False, True])
def test_before_the_first_step_policy_and_reference_are_one(
    started: bool, make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "dpo", tiny_base, pairs(4), pairs(4, start=50), start if started else None)
    trainer = _trainer(run, spec)
    figures = trainer.evaluate()
    assert figures["eval_rewards/chosen"] == pytest.approx(0, abs=0.01)
    assert figures["eval_rewards/rejected"] == pytest.approx(0, abs=0.01)
    rows_ = trainer.eval_dataset
    tokens = sum(len(ids) for ids in rows_["chosen_ids"])
    supervised = -sum(rows_["ref_chosen_logps"]) / tokens
    preference = figures["eval_loss"] - spec.settings.sft_weight * supervised
    assert preference == pytest.approx(math.log(2), abs=0.01)


def test_the_reference_is_the_start_adapter_and_not_the_bare_base(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "dpo", tiny_base, pairs(4), start=start)
    trainer = _trainer(run, spec)
    row = trainer.train_dataset[0]
    reference = row["ref_chosen_logps"]
    trainer.model.eval()
    assert reference == pytest.approx(_logprob(trainer.model, row, "chosen_ids"), abs=0.2)
    with trainer.model.disable_adapter():
        bare = _logprob(trainer.model, row, "chosen_ids")
    assert abs(reference - bare) > 1


def test_training_moves_the_policy_and_leaves_the_reference(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    run, spec = make_run("run", "dpo", tiny_base, pairs(8), start=start)
    trainer = _trainer(run, spec)

    def weights(name: str) -> dict[str, Any]:
        return {key: value.clone() for key, value in trainer.model.named_parameters() if f".{name}." in key}

    policy, reference = weights("default"), weights("ref")
    assert reference
    trainer.train()
    assert all((weights("ref")[key] == value).all() for key, value in reference.items())
    assert any((weights("default")[key] != value).any() for key, value in policy.items())


def test_the_result_is_one_adapter_over_the_base_that_prefers_what_it_was_taught(
    make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    import torch
    from peft import PeftModel
    from safetensors import safe_open

    run, spec = make_run("run", "dpo", tiny_base, pairs(24), pairs(6, start=60), start, n_epochs=4)
    dpo.train(run, spec)
    with safe_open(run / "adapter" / fingerprint.ADAPTER_WEIGHTS, framework="pt") as file:
        assert all("lora_" in key and "ref" not in key.split(".") for key in file.keys())
    PeftModel.from_pretrained(model.load_base(tiny_base, torch.bfloat16), run / folder.ADAPTER)
    manifest = Manifest.model_validate(folder.read_json(run / "adapter" / folder.MANIFEST))
    assert (manifest.kind, manifest.parent) == ("dpo", "sha256-of-start")
    report = TrainingReport.model_validate(folder.read_json(run / folder.REPORT))
    assert report.metrics["reward_accuracy"] == 1
    assert report.metrics["reward_margin"] > report.metrics["reward_margin_before"]
    told = [line["metrics"] for line in folder.read_lines(run / folder.PROGRESS) if line.get("metrics")]
    assert all(line["logp_chosen"] < 0 and line["logp_rejected"] < 0 for line in told if "train_loss" in line)
    held_out = [line["valid_logp_chosen"] for line in told if "valid_loss" in line]
    assert len(held_out) == 5, "before the first step, and after each pass"
    assert held_out[-1] > held_out[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "sigmoid", "sft_weight": 0.0},
        {"loss_type": "sigmoid", "sft_weight": 0.7},
        {"loss_type": "sigmoid_norm", "sft_weight": 0.0, "beta": 5.0},
        {"loss_type": "robust", "sft_weight": 0.3, "label_smoothing": 0.2},
    ],
)
def test_each_loss_is_the_one_of_its_paper_computed_apart_from_trl(
    settings: dict[str, Any], make_run: MakeRun, tiny_base: Path, start: Path
) -> None:
    import torch
    from torch.nn.functional import logsigmoid

    run, spec = make_run("run", "dpo", tiny_base, pairs(8), pairs(4, start=50), start, n_epochs=2, **settings)
    trainer = _trainer(run, spec)
    trainer.train()
    found = trainer.evaluate()["eval_loss"]
    told = next(one for one in reversed(trainer.state.log_history) if "eval_rewards/margins" in one)
    rows_, chosen, lengths, deltas = list(trainer.eval_dataset), [], [], []
    for row in rows_:
        better, worse = (_logprob(trainer.model, row, f"{side}_ids") for side in ("chosen", "rejected"))
        up, down = better - row["ref_chosen_logps"], worse - row["ref_rejected_logps"]
        if spec.settings.loss_type == "sigmoid_norm":
            up, down = up / len(row["chosen_ids"]), down / len(row["rejected_ids"])
        deltas.append(spec.settings.beta * (up - down))
        chosen.append(better)
        lengths.append(len(row["chosen_ids"]))
    delta, wrong = torch.tensor(deltas), spec.settings.label_smoothing
    right, flipped = -logsigmoid(delta), -logsigmoid(-delta)
    preference = (((1 - wrong) * right - wrong * flipped) / (1 - 2 * wrong)).mean()
    wanted = preference - spec.settings.sft_weight * sum(chosen) / sum(lengths)
    assert found == pytest.approx(wanted.item(), abs=0.02)
    assert told["eval_rewards/margins"] == pytest.approx(delta.mean().item(), abs=0.02)
    assert told["eval_rewards/accuracies"] == pytest.approx((delta > 0).float().mean().item())


def test_an_adapter_scaled_by_the_root_of_its_rank_says_so_and_is_gone_on_with_only_so(
    make_run: MakeRun, tiny_base: Path
) -> None:
    from tests.training.conftest import examples
    from training import sft
    from training.refusal import Refused

    first, spec = make_run("first", "sft", tiny_base, examples(8), use_rslora=True)
    sft.train(first, spec)
    config = folder.read_json(first / folder.ADAPTER / fingerprint.ADAPTER_CONFIG)
    assert config["use_rslora"] is True
    run, spec = make_run("run", "dpo", tiny_base, pairs(4), start=first / folder.ADAPTER, use_rslora=True)
    policy = model.load_policy(spec)
    scales = [
        module.scaling for module in policy.modules() if isinstance(getattr(module, "scaling", None), dict)
    ]
    assert {scale["default"] for scale in scales} == {32 / 4**0.5}
    _, spec = make_run("other", "dpo", tiny_base, pairs(4), start=first / folder.ADAPTER)
    with pytest.raises(Refused, match="use_rslora"):
        model.load_policy(spec)

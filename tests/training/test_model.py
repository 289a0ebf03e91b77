"""What may be trained on and from, and what the fingerprints notice."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint, folder
from tests.training.conftest import MakeRun, examples
from training import kernel, model, sft
from training.progress import StepLines
from training.refusal import Refused

pytestmark = pytest.mark.heavy


def test_a_start_adapter_is_refused_when_its_rank_is_not_the_jobs(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("start", "sft", tiny_base, examples(4))
    sft.train(run, spec)
    _, wider = make_run("next", "sft", tiny_base, examples(4), start=run / folder.ADAPTER, lora_rank=8)
    with pytest.raises(Refused, match="has rank 4") as refusal:
        model.load_policy(wider)
    assert refusal.value.code == "bad_start_adapter"


def test_a_start_adapter_made_for_another_base_is_refused(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    run, spec = make_run("start", "sft", tiny_base, examples(4))
    sft.train(run, spec)
    other = tmp_path / "other-base"
    shutil.copytree(tiny_base, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    _, next_spec = make_run("next", "sft", other, examples(4), start=run / folder.ADAPTER)
    with pytest.raises(Refused, match="another base model"):
        model.load_policy(next_spec)


def test_supervised_training_goes_on_from_an_adapter(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("start", "sft", tiny_base, examples(12), examples(4, start=50), n_epochs=3)
    sft.train(run, spec)
    on, on_spec = make_run(
        "on", "sft", tiny_base, examples(12), examples(4, start=50), run / folder.ADAPTER, learning_rate=1e-3
    )
    sft.train(on, on_spec)
    first, second = (folder.read_json(path / folder.REPORT)["metrics"] for path in (run, on))
    assert second["valid_loss_before"] == pytest.approx(first["valid_loss"], abs=0.05)


def test_another_template_or_weight_file_changes_the_fingerprint(tiny_base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    assert fingerprint.base_sha256(copy) == fingerprint.base_sha256(tiny_base)
    assert fingerprint.template_sha256(copy) == fingerprint.template_sha256(tiny_base)
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint.template_sha256(copy) != fingerprint.template_sha256(tiny_base)
    (copy / "more.safetensors").write_bytes(b"x")
    assert fingerprint.base_sha256(copy) != fingerprint.base_sha256(tiny_base)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float, tmp_path: Path) -> None:
    class State:
        global_step, max_steps = 4, 9

    lines: Any = StepLines(tmp_path)
    with pytest.raises(Refused, match="at step 4") as refusal:
        lines.on_log(None, State(), None, logs={"loss": loss})
    assert refusal.value.code == "loss_not_finite"


def test_a_step_in_bf16_is_as_near_to_fp32_as_torchs_own_operations(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is compiled together, on rows that begin alike and some that are padded."""
    import torch

    if not model.multiplies_bf16():
        pytest.skip("this processor trains in fp32")
    _, spec = make_run("step", "sft", tiny_base, examples(4))
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 40, (6, 30), generator=random)
    ids[3:, :12] = ids[:3, :12]
    mask = (torch.arange(30)[None] < torch.tensor([30, 30, 18, 30, 21, 5])[:, None]).long()
    fitting = model.load_policy(spec)
    weights = {
        name: torch.randn(weight.shape, generator=random) * 0.1
        for name, weight in model.trained_weights(fitting).items()
    }

    def gradient(policy: Any, *, narrow: bool) -> torch.Tensor:
        model.set_trained_weights(policy, weights)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            logits = policy(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()].float()
        torch.nn.functional.cross_entropy(logits, ids[mask.bool()]).backward()
        return torch.cat([one.grad.flatten() for one in policy.parameters() if one.requires_grad])

    compiled = gradient(fitting, narrow=True)
    monkeypatch.setattr(kernel, "_libraries", dict)
    by_torch = gradient(model.load_policy(spec), narrow=True)
    monkeypatch.setattr(model, "multiplies_bf16", lambda: False)
    wanted = gradient(model.load_policy(spec), narrow=False)
    far, as_far = ((one - wanted).norm() / wanted.norm() for one in (compiled, by_torch))
    assert not torch.equal(compiled, by_torch)
    assert far < 1.2 * as_far < 0.12

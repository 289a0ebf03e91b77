"""What may be trained on and from, and what the fingerprints notice."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.contract import fingerprint, folder
from tests.training.conftest import MakeRun, examples
from training import model, sft
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

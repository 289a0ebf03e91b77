"""A merged checkpoint: what it is made of, what it answers, and what is refused."""

import json
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from service.contract import folder
from service.contract.fingerprint import base_sha256
from service.contract.jobs import Manifest, TrainingSettings
from service.storage.adapters import adapter_digest
from training import fingerprint, merge
from training.refusal import Refused

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _own_surroundings():
    """A command line may change its process for good; here others' tests follow in it."""
    kept, environ = signal.getsignal(signal.SIGTERM), dict(os.environ)
    yield
    signal.signal(signal.SIGTERM, kept)
    os.environ.clear()
    os.environ.update(environ)


@pytest.fixture
def light(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of an adapter and of the base that it fits, without weights that anything could read."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text('{"eos_token_id": 2}')
    (base / "model.safetensors").write_bytes(bytes(1000))
    manifest = Manifest(
        kind="sft", base_model="tiny", base_sha256=base_sha256(base),
        template_sha256=fingerprint.template_sha256(base), train_sha256="", parent=None, job="ftjob-1",
        settings=TrainingSettings(n_epochs=1, batch_size=1, learning_rate=1e-4), versions={}, created_at=1,
    )  # fmt: skip
    folder.write_json(adapter / folder.MANIFEST, manifest.model_dump())
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return adapter, base


def refusal(adapter: Path, base: Path, out: Path) -> Refused:
    kept = sorted(out.parent.iterdir())
    with pytest.raises(Refused) as refused:
        merge.merge(adapter, base, out)
    assert sorted(out.parent.iterdir()) == kept
    assert "\n" not in refused.value.message
    return refused.value


def test_a_folder_that_is_there_is_never_written_to(light: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert refusal(*light, tmp_path / "out").code == "out_exists"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert refusal(*light, tmp_path / "link").code == "out_exists"


def test_another_base_model_and_another_chat_template_are_refused(light: tuple[Path, Path], tmp_path: Path):
    adapter, base = light
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert refusal(adapter, base, tmp_path / "out").code == "wrong_template"
    (base / "model.safetensors").write_bytes(bytes(1001))
    wrong = refusal(adapter, base, tmp_path / "out")
    assert (wrong.code, "'tiny'" in wrong.message) == ("wrong_base_model", True)
    assert refusal(adapter, tmp_path / "none", tmp_path / "out").code == "bad_base_model"


@pytest.mark.parametrize(
    ("more", "code"),
    [({merge.MARK: "ab"}, "wrong_base_model"), ({"quantization_config": {"bits": 4}}, "bad_base_model")],
)
def test_what_cannot_be_merged_into_is_refused(
    light: tuple[Path, Path], tmp_path: Path, more: Any, code: str
):
    adapter, base = light
    (base / "config.json").write_text(json.dumps({"eos_token_id": 2, **more}))
    assert refusal(adapter, base, tmp_path / "out").code == code


def test_an_adapter_that_does_not_say_what_it_fits_is_refused(light: tuple[Path, Path], tmp_path: Path):
    adapter, base = light
    (adapter / folder.MANIFEST).write_text("{}")
    assert refusal(adapter, base, tmp_path / "out").code == "bad_adapter"
    (adapter / "adapter_model.safetensors").unlink()
    assert refusal(adapter, base, tmp_path / "out").code == "bad_adapter"


def test_a_disk_without_room_is_told_before_anything_is_read(
    light: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(merge.shutil, "disk_usage", lambda _: Usage(2000, 1100, 900))
    assert refusal(*light, tmp_path / "out").code == "disk_full"
    assert merge.main([*map(str, light), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("merge: The merged model takes")
    assert said.count("\n") == 1


def test_the_adapters_digest_is_the_one_that_the_service_names_it_by(light: tuple[Path, Path]):
    adapter, _ = light
    assert fingerprint.adapter_sha256(adapter) == adapter_digest(adapter)


@pytest.mark.heavy
def test_a_merged_checkpoint_answers_as_the_adapter_does_and_says_by_how_much(
    start: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "deep" / "merged"
    assert merge.main([str(start), str(tiny_base), str(out)]) == 0
    assert "logits differ from the adapter's by" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["merged"]

    merged = AutoModelForCausalLM.from_pretrained(out)
    assert {value.dtype for value in merged.parameters()} == {torch.bfloat16}
    tokenizer = AutoTokenizer.from_pretrained(out)
    asked = [{"role": "user", "content": "Where does ferry 3 leave?"}]
    prompt = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, start)
    with torch.inference_mode():
        wanted, got = tuned(**prompt).logits, merged.float()(**prompt).logits
        with tuned.disable_adapter():
            bare = tuned(**prompt).logits
    assert (got - wanted).abs().mean() < merge.TOLERANCE
    assert (got - wanted).abs().mean() < (bare - wanted).abs().mean() / 10

    assert fingerprint.template_sha256(out) == fingerprint.template_sha256(tiny_base)
    assert (out / merge.ORIGIN).read_bytes() == (start / folder.MANIFEST).read_bytes()
    assert folder.read_json(out / "config.json")[merge.MARK] == adapter_digest(start)
    assert base_sha256(out) != base_sha256(tiny_base)
    assert refusal(start, out, tmp_path / "twice").code == "wrong_base_model"


@pytest.mark.heavy
def test_a_base_in_fp32_is_merged_without_a_loss(start: Path, tiny_base: Path, tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(tiny_base, base)
    shutil.copytree(start, adapter)
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).save_pretrained(base)
    manifest = folder.read_json(adapter / folder.MANIFEST)
    folder.write_json(adapter / folder.MANIFEST, {**manifest, "base_sha256": base_sha256(base)})
    agreement = merge.merge(adapter, base, tmp_path / "out")
    assert agreement.largest < 1e-3
    assert agreement.change > 0.1


@pytest.mark.heavy
def test_weights_that_answer_otherwise_are_not_kept_and_neither_is_half_a_checkpoint(
    start: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from peft import PeftModel
    from transformers import PreTrainedModel

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", full)
        assert refusal(start, tiny_base, tmp_path / "out").code == "disk_full"
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda model: model.unload(), raising=False)
    differs = refusal(start, tiny_base, tmp_path / "out")
    assert differs.code == "merge_differs"
    assert "allowed are" in differs.message


@pytest.mark.parametrize(
    ("mean", "change", "kept"),
    [
        (0.05, 1.0, True),
        (0.11, 9.0, False),
        (0.05, 0.06, False),
        (float("nan"), 1.0, False),
    ],
)
def test_what_is_off_by_too_much_or_loses_most_of_the_adapter_is_refused(
    mean: float, change: float, kept: bool
):
    agreement = merge.Agreement(tokens=9, mean=mean, largest=mean, change=change)
    if kept:
        return merge.check_agreement(agreement)
    with pytest.raises(Refused, match="Nothing was kept"):
        merge.check_agreement(agreement)

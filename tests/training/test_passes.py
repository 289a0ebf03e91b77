"""What each finished pass leaves while its run goes on, and that the run does not notice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from service.contract import folder
from service.contract.jobs import Manifest, ProofCase, TrainingReport
from tests.training.conftest import MakeRun, digest, examples, pairs
from training import dpo, export, passes, proof, sft
from training.model import trained_weights

pytestmark = pytest.mark.heavy

WEIGHTS = f"{folder.ADAPTER}/adapter_model.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


def left_by(run: Path) -> list[Path]:
    return sorted(run.glob(f"{folder.PASS}*"), key=folder.step)


def apart(one: list[float], other: list[float]) -> float:
    """The mean distance, as the running engine is held against the trainer."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize(("method", "rows"), [(sft, examples), (dpo, pairs)])
def test_each_pass_but_the_last_leaves_its_adapter_as_it_was_with_what_it_computes(
    method: Any, rows: Any, make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was: dict[str, dict[str, torch.Tensor]] = {}
    written = export.write_pass

    def watch(place: Path, spec: Any, model: Any, *more: Any) -> None:
        was[place.name] = trained_weights(model)
        written(place, spec, model, *more)

    monkeypatch.setattr(export, "write_pass", watch)
    kind = method.__name__.rpartition(".")[2]
    run, spec = make_run("run", kind, tiny_base, rows(12), rows(4, start=60), n_epochs=5, learning_rate=3e-2)
    method.train(run, spec)
    left = [place.name for place in left_by(run)]
    assert left == ["pass-6", "pass-9", "pass-12"], "of the four the newest"
    for place in left_by(run):
        saved = load_file(place / WEIGHTS)
        trained = {name.replace(".default.", "."): value for name, value in was[place.name].items()}
        assert saved.keys() == trained.keys()
        assert all(torch.equal(saved[name], trained[name]) for name in saved)
        assert sorted(path.name for path in (place / folder.ADAPTER).iterdir()) == sorted(
            path.name for path in (run / folder.ADAPTER).iterdir()
        )
        manifest = Manifest.model_validate(folder.read_json(place / folder.ADAPTER / folder.MANIFEST))
        report = TrainingReport.model_validate(folder.read_json(place / folder.REPORT))
        assert manifest.step == report.steps == folder.step(place)
        lines = [
            line for line in folder.read_lines(run / folder.PROGRESS) if line.get("step") == report.steps
        ]
        (measured,) = [line["metrics"]["valid_loss"] for line in lines if "valid_loss" in line["metrics"]]
        assert report.metrics["valid_loss"] == pytest.approx(measured, rel=1e-5), "a line tells six digits"
        cases = [ProofCase.model_validate(line) for line in folder.read_lines(place / folder.PROOF)]
        assert 0 < len(cases) <= proof.WHILE_TRAINING
        model = proof._load(tiny_base, place / folder.ADAPTER)
        for case in cases:
            read_back = proof.logprobs(model, case.prompt_tokens, case.completion_tokens)
            with model.disable_adapter():
                base = proof.logprobs(model, case.prompt_tokens, case.completion_tokens)
            rounding = max(apart(case.adapter_logprobs, read_back), apart(case.base_logprobs, base))
            assert rounding < 0.1 < apart(case.adapter_logprobs, base)
    last = Manifest.model_validate(folder.read_json(run / folder.ADAPTER / folder.MANIFEST))
    assert last.step is None

    monkeypatch.setattr(passes.Passes, "on_epoch_begin", lambda *_, **__: None)
    without, spec = make_run(
        "without", kind, tiny_base, rows(12), rows(4, start=60), n_epochs=5, learning_rate=3e-2
    )
    method.train(without, spec)
    assert left_by(without) == []
    assert digest(without) == digest(run)

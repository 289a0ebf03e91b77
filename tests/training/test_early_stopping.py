"""Which step's adapter is kept, and that the report says why."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from service.contract import folder
from service.contract.jobs import TrainingReport
from tests.training.conftest import MakeRun, examples
from training import sft
from training.early_stopping import EarlyStopping
from training.model import trained_weights

pytestmark = pytest.mark.heavy


def unlike(count: int) -> Any:
    """Held-out answers that contradict those learned from, so that learning makes them less likely in the end."""
    rows = copy.deepcopy(examples(count, start=60))
    for row in rows:
        row["messages"][-1]["content"] = "Nobody knows the answer to that, not even the captain."
    return rows


def report(run: Path) -> TrainingReport:
    return TrainingReport.model_validate(folder.read_json(run / folder.REPORT))


def losses(run: Path) -> dict[int, float]:
    lines = folder.read_lines(run / folder.PROGRESS)
    return {line["step"]: line["metrics"]["valid_loss"] for line in lines if "valid_loss" in line["metrics"]}


def run_of(make_run: MakeRun, name: str, base: Path, patience: int) -> Path:
    run, spec = make_run(
        name, "sft", base, examples(12), unlike(3), n_epochs=12, early_stopping_patience=patience,
        learning_rate=1e-2,  # at which the held-out loss falls for a few passes and rises after them
    )  # fmt: skip
    sft.train(run, spec)
    return run


def test_training_ends_when_the_held_out_loss_no_longer_falls_and_the_best_pass_is_kept(
    make_run: MakeRun, tiny_base: Path
) -> None:
    run = run_of(make_run, "stopped", tiny_base, patience=2)
    measured = losses(run)
    after = {step: loss for step, loss in measured.items() if step}
    best = min(after, key=lambda step: after[step])
    told = report(run)
    assert told.kept_step == best
    assert list(after)[-1] == told.steps == best + 2 * 3, "two passes of three steps without a lower loss"
    assert told.metrics["valid_loss"] == pytest.approx(after[best], rel=1e-5), "a line tells six digits"
    assert told.metrics["valid_loss_before"] == pytest.approx(measured[0], rel=1e-5)
    assert f"lowest after step {best}" in told.kept_because
    assert "ended" in told.kept_because


def test_the_kept_adapter_is_bit_for_bit_the_one_of_that_step(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    seen: dict[int, dict[str, torch.Tensor]] = {}
    measured = EarlyStopping.on_evaluate

    def watch(self: EarlyStopping, args: Any, state: Any, *more: Any, **named: Any) -> None:
        seen[state.global_step] = trained_weights(self._model)
        measured(self, args, state, *more, **named)

    monkeypatch.setattr(EarlyStopping, "on_evaluate", watch)
    run = run_of(make_run, "stopped", tiny_base, patience=2)
    kept, last = report(run).kept_step, report(run).steps
    assert kept is not None
    assert kept < last
    saved = load_file(run / folder.ADAPTER / "adapter_model.safetensors")

    def same(step: int) -> bool:
        return all(
            torch.equal(saved[name.replace(".default", "")], value) for name, value in seen[step].items()
        )

    assert same(kept)
    assert not same(last)


def test_without_patience_all_passes_are_made_the_last_is_kept_and_a_better_one_is_told(
    make_run: MakeRun, tiny_base: Path
) -> None:
    told = report(run_of(make_run, "run", tiny_base, patience=0))
    assert (told.kept_step, told.steps) == (36, 36)
    assert "early stopping is off" in told.kept_because


def test_without_held_out_rows_nothing_is_claimed(make_run: MakeRun, tiny_base: Path) -> None:
    run, spec = make_run("run", "sft", tiny_base, examples(12), early_stopping_patience=1)
    sft.train(run, spec)
    told = report(run)
    assert (told.kept_step, told.steps) == (3, 3)
    assert told.kept_because == "No rows are held out, so the last step is kept."

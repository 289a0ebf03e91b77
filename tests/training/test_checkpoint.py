"""However a run is interrupted, the adapter in the end is, bit for bit, that of a run without interruption."""

import json
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from service.contract import folder
from service.contract.jobs import Progress, TrainingReport, TrainingSpec
from tests.training.conftest import (
    MakeRun,
    Rows,
    digest,
    examples,
    pairs,
    rated,
    start_run,
    until,
)
from training import checkpoint, dpo, kto, pause, sft
from training.progress import StepLines

pytestmark = pytest.mark.heavy

METHODS: dict[str, Any] = {"sft": sft, "dpo": dpo, "kto": kto}
ROWS = {"sft": examples, "dpo": pairs, "kto": rated}
PASSES, STEPS = 3, 9
AT_EVERY_STEP = """
import runpy
from training import checkpoint
checkpoint.SHARE = 0
runpy.run_module("training", run_name="__main__", alter_sys=True)
"""
"""`python -m training`, but with a checkpoint after each step: so few steps would have only that of the first."""


class Cut(Exception):
    """The process ends here, as far as the run can tell."""


class CutAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Before the checkpoint of this very step would be written.
        if state.global_step == self.step:
            raise Cut


@pytest.fixture(autouse=True)
def _one_thread():
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHARE", 0)


def mixed(kind: str) -> tuple[Rows, Rows]:
    """Rows of different lengths, so that their order decides what a step sees."""
    train, held_out = ROWS[kind](10), ROWS[kind](4, start=60)
    for at, row in enumerate(train):
        messages = row.get("messages") or row.get("prompt") or row["input"]["messages"]
        messages[0]["content"] += " please" * (at % 4)
    return train, held_out


def make(make_run: MakeRun, name: str, kind: str, base: Path, **more: Any) -> tuple[Path, TrainingSpec]:
    train, held_out = mixed(kind)
    run, spec = make_run(name, kind, base, train, held_out, n_epochs=PASSES, **{"replay": 0.5, **more})
    spec.checkpoint_seconds = 0
    (run / folder.JOB).write_text(spec.model_dump_json())
    return run, spec


def figures(run: Path) -> tuple[dict[str, float], int, int | None]:
    report = TrainingReport.model_validate(folder.read_json(run / folder.REPORT))
    return report.metrics, report.trained_tokens, report.kept_step


def cut_after(monkeypatch: pytest.MonkeyPatch, method: Any, step: int, run: Path, spec: TrainingSpec) -> None:
    made = method.make_trainer

    def with_cut(*given: Any) -> Any:
        trainer = made(*given)
        trainer.add_callback(CutAfter(step))
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(method, "make_trainer", with_cut)
        with pytest.raises(Cut):
            method.train(run, spec)


@pytest.mark.parametrize(
    ("kind", "cuts"), [("sft", range(1, STEPS + 1)), ("dpo", (1, 3, 5, STEPS)), ("kto", (1, 3, 5, STEPS))]
)
def test_a_run_cut_off_after_any_step_ends_with_the_same_adapter_and_figures(
    kind: str,
    cuts: Sequence[int],
    make_run: MakeRun,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_every_step: None,
) -> None:
    method = METHODS[kind]
    whole, spec = make(make_run, "whole", kind, tiny_base)
    method.train(whole, spec)
    for step in cuts:
        run, spec = make(make_run, f"cut-{step}", kind, tiny_base)
        cut_after(monkeypatch, method, step, run, spec)
        assert not (run / folder.REPORT).exists()
        left = [int(place.name.split("-")[1]) for place in run.glob("checkpoint-*")]
        assert left == ([step - 1] if step > 1 else [])
        method.train(run, spec)
        assert digest(run) == digest(whole), step
        for name in ("pass-3", "pass-6"):
            assert digest(run / name) == digest(whole / name), (step, name)
        assert figures(run) == figures(whole), step
        assert not list(run.glob("*checkpoint-*")), "what is done needs no checkpoint"


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_run_that_goes_on_is_still_held_to_the_adapter_it_started_from(
    kind: str,
    make_run: MakeRun,
    tiny_base: Path,
    start: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_every_step: None,
) -> None:
    method = METHODS[kind]
    whole, spec = make(make_run, "whole", kind, tiny_base, start=start)
    method.train(whole, spec)
    run, spec = make(make_run, "cut", kind, tiny_base, start=start)
    for step in (2, 5, 8):
        cut_after(monkeypatch, method, step, run, spec)
    method.train(run, spec)
    assert (digest(run), figures(run)) == (digest(whole), figures(whole))


@pytest.mark.parametrize("kind", METHODS)
def test_kill_9_at_a_random_step_changes_nothing(kind: str, make_run: MakeRun, tiny_base: Path) -> None:
    whole, spec = make(make_run, "whole", kind, tiny_base)
    METHODS[kind].train(whole, spec)
    run, _ = make(make_run, "killed", kind, tiny_base)
    process = start_run(run, program=("-c", AT_EVERY_STEP))
    until(run, process, random.randint(5, STEPS - 1))  # the order of a first pass needs no checkpoint
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (run / folder.REPORT).exists()
    stood = max(folder.step(place) for place in run.glob(f"{folder.CHECKPOINT}*"))
    assert stood > STEPS / PASSES, "what a later pass goes on with is more than the weights"
    process = start_run(run)
    assert process.wait(timeout=600) == 0, process.communicate()[0]
    # A run that begins again ends with the same adapter too: that it went on must be looked at by itself.
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    [went_on] = [at for at, line in enumerate(lines) if line.code == "going_on"]
    assert lines[went_on].values == {"step": stood}
    assert min(line.step for line in lines[went_on + 1 :] if "train_loss" in line.metrics) == stood + 1
    assert digest(run) == digest(whole)
    assert figures(run) == figures(whole)


def test_a_process_asked_to_pause_ends_with_the_code_for_it(make_run: MakeRun, tiny_base: Path) -> None:
    run, _ = make(make_run, "run", "sft", tiny_base)
    (run / folder.PAUSE).touch()
    process = start_run(run)
    assert process.wait(timeout=600) == folder.PAUSED, process.communicate()[0]
    assert not (run / folder.REPORT).exists()
    assert not (run / folder.PAUSE).exists(), "the request is answered"


def test_a_pause_ends_the_run_after_its_present_step_and_says_so(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, spec = make(make_run, "run", "sft", tiny_base)
    spec.checkpoint_seconds = 1000
    wrote = StepLines._write

    def ask(self: StepLines, line: Progress) -> None:
        wrote(self, line)
        if line.step == 4:
            (run / folder.PAUSE).touch()

    monkeypatch.setattr(StepLines, "_write", ask)
    with pytest.raises(pause.Paused):
        sft.train(run, spec)
    assert [place.name for place in run.glob("checkpoint-*")] == ["checkpoint-5"]
    told = [line["message"] for line in folder.read_lines(run / folder.PROGRESS) if "message" in line]
    assert told[-1] == f"Paused after step 5 of {STEPS}."
    pause.answered(run)
    sft.train(run, spec)
    lines = [Progress.model_validate(line) for line in folder.read_lines(run / folder.PROGRESS)]
    (told_again,) = [line for line in lines if line.message == "Going on after step 5."]
    assert (told_again.code, told_again.values) == ("going_on", {"step": 5})
    measured = [line.step for line in lines if "valid_loss" in line.metrics]
    assert measured == [0, 3, 6, 9], "each pass is measured once"
    assert figures(run)[0]["valid_loss_before"] > figures(run)[0]["valid_loss"]


def test_a_checkpoint_of_another_job_is_not_gone_on_with(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, at_every_step: None
) -> None:
    run, spec = make(make_run, "run", "sft", tiny_base)
    cut_after(monkeypatch, sft, 3, run, spec)
    assert checkpoint.find(run, spec.model_copy(update={"threads": 7})) is not None, "a thread is no lesson"
    asked = spec.model_copy(update={"cases_sha256": "c" * 64, "learned": ["d" * 64]})
    assert checkpoint.find(run, asked) is not None, "nor are held-out questions, which no row asks"
    faster = spec.settings.model_copy(update={"learning_rate": 0.5})
    assert checkpoint.find(run, spec.model_copy(update={"settings": faster})) is None
    assert not list(run.glob("checkpoint-*"))


def test_a_checkpoint_whose_rows_held_out_have_changed_is_not_gone_on_with(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, at_every_step: None
) -> None:
    run, spec = make(make_run, "run", "sft", tiny_base)
    cut_after(monkeypatch, sft, 3, run, spec)
    (run / folder.VALIDATION).write_text(json.dumps(examples(1, start=99)[0]) + "\n")
    assert checkpoint.find(run, spec) is None


def test_half_a_checkpoint_is_never_taken_for_one(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, at_every_step: None
) -> None:
    whole, spec = make(make_run, "whole", "sft", tiny_base)
    sft.train(whole, spec)
    run, spec = make(make_run, "run", "sft", tiny_base)
    renamed = checkpoint.os.rename
    with monkeypatch.context() as patch:

        def fail(source: Path, target: Path) -> None:
            if Path(target).name == "checkpoint-4":
                raise Cut
            renamed(source, target)

        patch.setattr(checkpoint.os, "rename", fail)
        with pytest.raises(Cut):
            sft.train(run, spec)
    assert [place.name for place in run.glob("checkpoint-*")] == ["checkpoint-3"]
    sft.train(run, spec)
    assert digest(run) == digest(whole)


def test_a_run_cut_off_while_it_waits_for_a_better_pass_keeps_the_same_one(
    make_run: MakeRun, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, at_every_step: None
) -> None:
    from tests.training.test_early_stopping import unlike

    ends = {}
    for step in (None, 7, 13, 16, 18):
        run, spec = make_run(
            f"cut-{step}", "sft", tiny_base, examples(12), unlike(3), n_epochs=12, early_stopping_patience=4,
            learning_rate=3e-2,
        )  # fmt: skip
        spec.checkpoint_seconds = 0
        if step:
            cut_after(monkeypatch, sft, step, run, spec)
        sft.train(run, spec)
        ends[step] = (digest(run), figures(run))
    assert all(end == ends[None] for end in ends.values()), ends

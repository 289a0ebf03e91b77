"""Where a run stands, on disk: what lets it go on after an end at any step as if there had been none, bit for bit.

A checkpoint is a folder of the run folder, named by its step: the trained weights, the optimizer's and the
schedule's state, the random state, the random state that the order of the present pass was drawn from, and the
trainer's log. It is written to a side folder that is renamed last, and belongs to one job and its rows. What is
not in it (the reference, the order of the rows) is computed again the same. Nothing in it is code: torch reads
its files with `weights_only`. Owns these files and the moment they are written. Knows no method.
"""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerState

from service.contract import folder
from service.contract.jobs import TrainingSpec
from training import pause, processes
from training.early_stopping import EarlyStopping
from training.model import set_trained_weights, trained_weights
from training.progress import StepLines

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
STATE = "trainer_state.json"
ABOUT = "checkpoint.json"
SHARE = 50
"""A checkpoint comes at the earliest after this many times the seconds that the one before took to write."""


def find(run: Path, spec: TrainingSpec) -> Path | None:
    """The newest checkpoint of this very job on these rows, if there is one. All others are removed."""
    kept = None
    for place in sorted(run.glob(f"{folder.CHECKPOINT}*"), key=folder.step, reverse=True):
        if kept is None and folder.read_json(place / ABOUT)["job"] == _job(run, spec):
            kept = place
        else:
            remove(place)
    return kept


def forget(run: Path) -> None:
    """Remove all checkpoints: the run is done, or will not go on."""
    for place in run.glob(f"*{folder.CHECKPOINT}*"):
        shutil.rmtree(place, ignore_errors=True)


def between_passes(state: Any) -> bool:
    return state.global_step % (state.max_steps // state.num_train_epochs) == 0


class Resumable:
    """A trainer of transformers whose checkpoints are those of this module: stands before it as a parent.

    transformers' own hold every adapter of the model, the reference among them, are written in place, and draw
    another order of rows for a pass that was broken off.
    """

    moments: "Moments"
    early_stopping: EarlyStopping

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        if self.control.should_training_stop:
            return  # there is nothing to go on with: the adapter is saved next
        if not processes.first():
            return  # the others stand where the first one stands
        began = time.monotonic()
        run = Path(self.args.output_dir)
        name = f"{folder.CHECKPOINT}{self.state.global_step}"
        side = run / f".{name}"
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir()
        save_file(trained_weights(self.model), side / WEIGHTS)
        if self.early_stopping.best is not None:
            save_file(self.early_stopping.best, side / BEST)
        self._save_optimizer_and_scheduler(str(side))
        self._save_rng_state(str(side))
        self.state.save_to_json(str(side / STATE))
        folder.write_json(side / ABOUT, self.moments.about(self.state))
        for file in side.iterdir():
            _sync(file)
        os.rename(side, run / name)
        _sync(run)
        for place in run.glob(f"{folder.CHECKPOINT}*"):
            if place.name != name:
                remove(place)
        self.moments.wrote(time.monotonic() - began)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        place = Path(resume_from_checkpoint)
        set_trained_weights(self.model, load_file(place / WEIGHTS))
        if (place / BEST).exists():
            self.early_stopping.best = load_file(place / BEST)
        history = TrainerState.load_from_json(str(place / STATE)).log_history
        tokens = [logs["num_tokens"] for logs in history if "num_tokens" in logs]
        self._total_train_tokens = int(tokens[-1]) if tokens and processes.first() else 0  # they are added up
        self.moments.goes_on(folder.read_json(place / ABOUT))


class Moments(TrainerCallback):
    """When a checkpoint is written: now and then, and when the run is asked to pause. Raises `Paused` then.

    At the end of a pass it waits until the held-out rows have been measured, so that a run that goes on measures
    each pass once.
    """

    def __init__(self, run: Path, spec: TrainingSpec, lines: StepLines) -> None:
        self._run, self._lines, self._every = run, lines, spec.checkpoint_seconds
        self._job = _job(run, spec)
        self._due = time.monotonic() + self._every
        self._pass_began: torch.Tensor | None = None
        """The random state that the order of the present pass is drawn from."""
        self._again: torch.Tensor | None = None
        """The same, of the pass that is gone on with."""

    def about(self, state: Any) -> dict[str, Any]:
        now = torch.get_rng_state() if between_passes(state) else self._pass_began
        assert now is not None
        return {
            "job": self._job,
            "pass_began": now.numpy().tobytes().hex(),
            "seconds": round(self._lines.seconds(), 1),
            "step_seconds": round(self._lines.step_seconds(), 1),
        }

    def goes_on(self, about: dict[str, Any]) -> None:
        self._again = torch.frombuffer(bytearray.fromhex(about["pass_began"]), dtype=torch.uint8)
        self._lines.seconds_before = about["seconds"]
        self._lines.steps_before = about.get("step_seconds", 0.0)  # none of an earlier version

    def wrote(self, seconds: float) -> None:
        self._due = time.monotonic() + max(self._every, SHARE * seconds)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pause_now(state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._again is not None:
            torch.set_rng_state(self._again)
            self._again = None
        self._pass_began = torch.get_rng_state()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = self._wanted() and not between_passes(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = self._wanted()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not control.should_training_stop:
            self._pause_now(state)

    def _wanted(self) -> bool:
        return processes.agreed(time.monotonic() >= self._due or pause.asked(self._run))

    def _pause_now(self, state: Any) -> None:
        if processes.agreed(pause.asked(self._run)):
            step, total = state.global_step, state.max_steps
            self._lines(f"Paused after step {step} of {total}.", "paused_after", step=step, total=total)
            raise pause.Paused


def _job(run: Path, spec: TrainingSpec) -> str:
    """SHA-256 of all that decides what a run computes: neither the machine nor the held-out questions do, which are
    looked for at each start and decide only whether there is a run."""
    spec = spec.model_copy(update={"threads": None, "checkpoint_seconds": 0.0, "cases_sha256": None})
    digest = hashlib.sha256(spec.model_dump_json(exclude={"learned"}).encode())
    for name in (folder.VALIDATION, folder.REPLAY):
        if (run / name).exists():
            digest.update((run / name).read_bytes())
    return digest.hexdigest()


def remove(place: Path) -> None:
    """Out of sight first, so that an end in the midst of it leaves no half of a checkpoint."""
    aside = place.with_name(f".{place.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(place, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file or the entries of a folder on disk before what follows."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Tells the run folder's reader how far a run is: `progress.jsonl`, in plain words and in figures.

Owns the trainer callback and the names of the figures. Stops the run when the loss is not finite.
Knows no files but that one.
"""

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from service.contract import folder
from service.contract.jobs import EventCode, Progress
from training import processes
from training.refusal import Refused

NAMES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "reward_margin",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "logp_chosen",
    "logps/rejected": "logp_rejected",
    "rewards/desirable": "reward_desirable",
    "rewards/undesirable": "reward_undesirable",
    "logps/desirable": "logp_desirable",
    "logps/undesirable": "logp_undesirable",
    "kl": "kl",
    "replay_distance": "replay_distance",
    "eval_loss": "valid_loss",
    "eval_mean_token_accuracy": "valid_mean_token_accuracy",
    "eval_rewards/accuracies": "valid_reward_accuracy",
    "eval_rewards/margins": "valid_reward_margin",
    "eval_logps/chosen": "valid_logp_chosen",
    "eval_logps/rejected": "valid_logp_rejected",
    "eval_rewards/desirable": "valid_reward_desirable",
    "eval_rewards/undesirable": "valid_reward_undesirable",
    "eval_logps/desirable": "valid_logp_desirable",
    "eval_logps/undesirable": "valid_logp_undesirable",
    "eval_kl": "valid_kl",
}
"""TRL's names on the left, ours on the right; what is not named here is not passed on."""


class Says:
    """Writes message lines: `say("...")`, and where there is one, its code with its values."""

    def __init__(self, run: Path) -> None:
        self._path = run / folder.PROGRESS

    def __call__(self, message: str, code: EventCode | None = None, **values: str | int | float) -> None:
        self._write(Progress(at=time.time(), message=message, code=code, values=values or None))

    def _write(self, line: Progress) -> None:
        if processes.first():
            folder.append_line(self._path, line.model_dump(exclude_none=True))


class StepLines(Says, TrainerCallback):
    """One line for each step and each measurement of the held-out rows; keeps what the report needs."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.tokens = 0
        self.before: dict[str, float] = {}
        """Figures of the held-out rows before the first step; empty when none are held out."""
        self.after: dict[str, float] = {}
        """The same after the last pass, or after the one that is kept."""
        self.steps: list[dict[str, float]] = []
        self.kept_step: int | None = None
        self.kept_because = ""
        self.seconds_before = self.steps_before = 0.0
        """What the run, and its steps alone, took until the checkpoint that it goes on from."""
        self._measured: dict[int, dict[str, float]] = {}
        self._made = time.monotonic()
        self._began = 0.0
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A run that goes on knows the figures of the steps before."""
        for logs in state.log_history:
            self._take(logs, logs["step"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self._began:
            self._began, self._first = time.monotonic(), state.global_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        metrics = self._take(logs or {}, state.global_step)
        if metrics:
            self._write(self._line(state, metrics))

    def seconds(self) -> float:
        """How long the run has taken, without the time that it lay still."""
        return self.seconds_before + time.monotonic() - self._made

    def step_seconds(self) -> float:
        """The same of its steps alone, and what is measured between them."""
        return self.steps_before + (time.monotonic() - self._began if self._began else 0.0)

    def keep(self, step: int, because: str) -> None:
        """The adapter of this step is kept: later figures are not the adapter's."""
        self.kept_step, self.kept_because = step, because
        self.steps = self.steps[:step]
        self.after = self._measured.get(step, {})

    def last_epoch(self, name: str, steps: int) -> float:
        """The mean of a step's figure over the last `steps` steps."""
        values = [step[name] for step in self.steps[-steps:] if name in step]
        return sum(values) / len(values)

    def _take(self, logs: dict[str, Any], step: int) -> dict[str, float]:
        """Ours of the trainer's figures, remembered. None of its closing summary."""
        metrics = {NAMES[name]: float(value) for name, value in logs.items() if name in NAMES}
        for name in ("train_loss", "valid_loss"):
            if not math.isfinite(metrics.get(name, 0.0)):
                raise Refused(
                    "loss_not_finite",
                    f"The loss is {metrics[name]} at step {step}: training has "
                    "diverged. Lower the learning rate (learning_rate_multiplier) and start again.",
                )
        if "train_loss" in metrics:
            self.tokens = int(logs.get("num_tokens", self.tokens))
            self.steps.append(metrics)
        elif "valid_loss" in metrics:
            self._measured[step] = self.after = metrics
            self.before = self.before or metrics
        else:
            return {}
        return metrics

    def _line(self, state: Any, metrics: dict[str, float]) -> Progress:
        done, total = state.global_step, state.max_steps
        since = done - self._first
        pace = (time.monotonic() - self._began) / since if since else None
        return Progress(
            at=time.time(),
            step=done,
            total_steps=total,
            tokens=self.tokens,
            seconds_left=round(pace * (total - done), 1) if pace is not None else None,
            metrics={name: float(f"{value:.6g}") for name, value in metrics.items()},
        )


class Spoken(StepLines):
    """The same, said on the command line and written nowhere."""

    def _write(self, line: Progress) -> None:
        if line.message is not None:
            print(line.message)  # noqa: T201

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
from service.contract.jobs import Progress
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
    "rewards/desirable": "reward_desirable",
    "rewards/undesirable": "reward_undesirable",
    "kl": "kl",
    "eval_loss": "valid_loss",
    "eval_mean_token_accuracy": "valid_mean_token_accuracy",
    "eval_rewards/accuracies": "valid_reward_accuracy",
    "eval_rewards/margins": "valid_reward_margin",
    "eval_rewards/desirable": "valid_reward_desirable",
    "eval_rewards/undesirable": "valid_reward_undesirable",
    "eval_kl": "valid_kl",
}
"""TRL's names on the left, ours on the right; what is not named here is not passed on."""


class Says:
    """Writes message lines: `say("...")`."""

    def __init__(self, run: Path) -> None:
        self._path = run / folder.PROGRESS

    def __call__(self, message: str) -> None:
        self._write(Progress(at=time.time(), message=message))

    def _write(self, line: Progress) -> None:
        folder.append_line(self._path, line.model_dump(exclude_none=True))


class StepLines(Says, TrainerCallback):
    """One line for each step and each measurement of the held-out rows; keeps what the report needs."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.tokens = 0
        self.before: dict[str, float] = {}
        """Figures of the held-out rows before the first step; empty when none are held out."""
        self.after: dict[str, float] = {}
        """The same after the last epoch."""
        self.steps: list[dict[str, float]] = []
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._began or time.monotonic()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        logs = logs or {}
        metrics = {NAMES[name]: float(value) for name, value in logs.items() if name in NAMES}
        for name in ("train_loss", "valid_loss"):
            if not math.isfinite(metrics.get(name, 0.0)):
                raise Refused(
                    "loss_not_finite",
                    f"The loss is {metrics[name]} at step {state.global_step}: training has "
                    "diverged. Lower the learning rate (learning_rate_multiplier) and start again.",
                )
        if "train_loss" in metrics:
            self.tokens = int(logs.get("num_tokens", self.tokens))
            self.steps.append(metrics)
        elif "valid_loss" in metrics:
            self.after = metrics
            self.before = self.before or metrics
        else:
            return  # the trainer's closing summary
        self._write(self._line(state, metrics))

    def last_epoch(self, name: str, steps: int) -> float:
        """The mean of a step's figure over the last `steps` steps."""
        values = [step[name] for step in self.steps[-steps:] if name in step]
        return sum(values) / len(values)

    def _line(self, state: Any, metrics: dict[str, float]) -> Progress:
        done, total = state.global_step, state.max_steps
        pace = (time.monotonic() - self._began) / done if done else None
        return Progress(
            at=time.time(),
            step=done,
            total_steps=total,
            tokens=self.tokens,
            seconds_left=round(pace * (total - done), 1) if pace is not None else None,
            metrics={name: round(value, 6) for name, value in metrics.items()},
        )

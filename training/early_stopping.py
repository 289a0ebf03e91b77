"""Ends a run that no longer gets better on held-out rows, and keeps the adapter of its best pass.

The held-out loss is measured after each pass. Whether it decides is a setting (`early_stopping_patience`). Owns
the choice of the step that is kept, and its reason in words. Knows no files and no method.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback

from service.contract.jobs import EventCode
from training import processes
from training.model import set_trained_weights, trained_weights


@dataclass(frozen=True)
class Kept:
    """The step whose weights are kept, and why: said, and by a code with its values."""

    step: int
    because: str
    code: EventCode
    values: dict[str, int | float]


class EarlyStopping(TrainerCallback):
    """Remembers the held-out loss after each pass, and the best pass's weights when the loss decides."""

    def __init__(self, model: Any, patience: int) -> None:
        self._model, self._patience = model, patience
        self.best: dict[str, torch.Tensor] | None = None
        """The trained weights of the best pass so far; none while the loss decides nothing."""
        self._losses: dict[int, float] = {}
        """The held-out loss, by step; before the first step it is not a choice."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A run that goes on knows what was measured before."""
        for logs in state.log_history:
            if "eval_loss" in logs and logs["step"]:
                self._losses[logs["step"]] = logs["eval_loss"]

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not state.global_step or metrics is None:
            return
        self._losses[state.global_step] = processes.agreed(metrics["eval_loss"])
        if not self._patience:
            return
        if self._best_step() == state.global_step:
            self.best = trained_weights(self._model)
        elif list(self._losses)[::-1].index(self._best_step()) >= self._patience:
            control.should_training_stop = True

    def keep(self, state: Any) -> Kept:
        """Put the kept weights into the model. Returns their step and why they were kept."""
        last = state.global_step
        if not self._losses:
            return Kept(last, "No rows are held out, so the last step is kept.", "kept_last_alone", {})
        best = self._best_step()
        values = {"best": best, "loss": self._losses[best], "last": last, "last_loss": self._losses[last]}
        lowest = f"The held-out loss was lowest after step {best} ({self._losses[best]:.4f})"
        if best == last:
            return Kept(last, f"{lowest}, the last one.", "kept_last_best", values)
        instead = f"after step {last} it was {self._losses[last]:.4f}"
        if not self._patience:
            said = f"{lowest}; {instead}. The last step is kept: early stopping is off."
            return Kept(last, said, "kept_last_off", values)
        assert self.best is not None
        set_trained_weights(self._model, self.best)
        early = state.max_steps - last
        if not early:
            return Kept(best, f"{lowest}; {instead}.", "kept_best", values)
        said = f"{lowest}; {instead}, and training ended {early} steps early."
        return Kept(best, said, "kept_best_ended", values | {"early": early})

    def _best_step(self) -> int:
        return min(self._losses, key=lambda step: self._losses[step])

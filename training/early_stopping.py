"""Ends a run that no longer gets better on held-out rows, and keeps the adapter of its best pass.

The held-out loss is measured after each pass. Whether it decides is a setting (`early_stopping_patience`). Owns
the choice of the step that is kept, and its reason in words. Knows no files and no method.
"""

from typing import Any

import torch
from transformers import TrainerCallback

from training.model import set_trained_weights, trained_weights


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
        self._losses[state.global_step] = metrics["eval_loss"]
        if not self._patience:
            return
        if self._best_step() == state.global_step:
            self.best = trained_weights(self._model)
        elif list(self._losses)[::-1].index(self._best_step()) >= self._patience:
            control.should_training_stop = True

    def keep(self, state: Any) -> tuple[int, str]:
        """Put the kept weights into the model. Returns their step and why they were kept."""
        last = state.global_step
        if not self._losses:
            return last, "No rows are held out, so the last step is kept."
        best = self._best_step()
        lowest = f"The held-out loss was lowest after step {best} ({self._losses[best]:.4f})"
        if best == last:
            return last, f"{lowest}, the last one."
        instead = f"after step {last} it was {self._losses[last]:.4f}"
        if not self._patience:
            return last, f"{lowest}; {instead}. The last step is kept: early stopping is off."
        assert self.best is not None
        set_trained_weights(self._model, self.best)
        ended = (
            "" if last == state.max_steps else f", and training ended {state.max_steps - last} steps early"
        )
        return best, f"{lowest}; {instead}{ended}."

    def _best_step(self) -> int:
        return min(self._losses, key=lambda step: self._losses[step])

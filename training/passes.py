"""The adapter of each finished pass that another follows, so that it can be asked while the run goes on.

Left as a folder of the run folder: a finished run in small (`export`), whole or not at all; the newest few are kept
there. Written as the next pass begins, when the held-out rows have been measured and nothing has ended the run. Knows
no method, and nothing of what becomes of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from service.contract import folder
from training import checkpoint


class Passes(TrainerCallback):
    """`leave` writes the folder that it is given, whole or not at all."""

    def __init__(self, run: Path, leave: Callable[[Path], None]) -> None:
        self._run, self._leave = run, leave

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        place = self._run / f"{folder.PASS}{state.global_step}"
        # A run that goes on begins a pass in its midst, or one whose folder was written before.
        if not state.global_step or not checkpoint.between_passes(state) or place.exists():
            return
        self._leave(place)
        for older in sorted(self._run.glob(f"{folder.PASS}*"), key=folder.step)[: -folder.PASSES]:
            checkpoint.remove(older)

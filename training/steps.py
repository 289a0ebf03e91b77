"""The steps of a run, which every method makes alike: gone on with where there is a checkpoint, watched on held-out
rows, paused when asked, and ended with the adapter that is kept. Owns the report. Knows no loss.
"""

from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from service.contract import folder
from service.contract.jobs import TrainingReport, TrainingSpec
from training import checkpoint, model
from training.early_stopping import EarlyStopping
from training.progress import StepLines


def make(trainer: Any, run: Path, spec: TrainingSpec, lines: StepLines) -> None:
    """Train. The trainer's model holds the kept adapter afterwards, `lines` its figures. Raises `Paused`."""
    trainer.moments = checkpoint.Moments(run, spec, lines)
    trainer.early_stopping = EarlyStopping(trainer.model, spec.settings.early_stopping_patience)
    trainer.remove_callback(PrinterCallback)
    for callback in (trainer.early_stopping, trainer.moments):
        trainer.add_callback(callback)
    found = checkpoint.find(run, spec)
    if found is None:
        lines(f"Training in {'bf16' if model.multiplies_bf16() else 'fp32'}.")
    else:
        trainer.args.eval_on_start = False
        lines(f"Going on after step {found.name.removeprefix(folder.CHECKPOINT)}.")
    trainer.train(resume_from_checkpoint=str(found) if found else None)
    step, because = trainer.early_stopping.keep(trainer.state)
    lines.keep(step, because)
    lines(f"{because} Saving the adapter, then reading it back to prove what it computes.")


def report(
    trainer: Any, lines: StepLines, rows: int, held_out: int, metrics: dict[str, float]
) -> TrainingReport:
    """What the run did, once its steps are made; `metrics` are the method's own figures."""
    state = trainer.state
    return TrainingReport(
        steps=state.global_step,
        epochs=state.global_step / steps_a_pass(trainer),
        rows=rows,
        held_out=held_out,
        trained_tokens=lines.tokens,
        seconds=round(lines.seconds(), 1),
        metrics=metrics,
        kept_step=lines.kept_step,
        kept_because=lines.kept_because,
    )


def steps_a_pass(trainer: Any) -> int:
    return trainer.state.max_steps // trainer.state.num_train_epochs

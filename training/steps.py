"""The steps of a run, which every method makes alike: checked before the first, gone on with where there is a
checkpoint, watched on held-out rows, paused when asked, and ended with the adapter that is kept. Owns the report.
Knows no loss.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PrinterCallback

from service.contract import fingerprint, folder
from service.contract.jobs import TrainingReport, TrainingSpec, Usage
from service.contract.replay import Forgetting
from training import checkpoint, export, memory, model, passes, preflight, processes, rendering, replay
from training.data import Chat
from training.early_stopping import EarlyStopping
from training.progress import StepLines
from training.reading_back import check_text
from training.rows import Rows


class Ready(NamedTuple):
    """A run before its first step."""

    trainer: Any
    chat: Chat
    found: Rows
    learned: Sequence[Any]
    """The tokenised rows (of `training.data`), in the trainer's order."""


def make(ready: Ready, run: Path, spec: TrainingSpec, lines: StepLines) -> None:
    """Train. The trainer's model holds the kept adapter afterwards, `lines` its figures. Raises `Refused`, `Paused`."""
    trainer = ready.trainer
    if processes.first():
        rendering.write(run, ready.chat, ready.found.train, ready.learned)
    check(ready, spec)
    trainer.replay = processes.first_then_others(
        lambda: replay.prepare(trainer.model, run, spec, ready.chat, ready.found, lines)
    )
    trainer.moments = checkpoint.Moments(run, spec, lines)
    trainer.early_stopping = EarlyStopping(trainer.model, spec.settings.early_stopping_patience)
    trainer.remove_callback(PrinterCallback)
    for callback in (trainer.early_stopping, trainer.moments):
        trainer.add_callback(callback)
    if processes.first():
        trainer.add_callback(passes.Passes(run, lambda place: _leave(ready, place, spec, lines)))
    found = processes.first_then_others(lambda: checkpoint.find(run, spec))
    if found is None:
        _begins(lines)
    else:
        trainer.args.eval_on_start = False
        step = folder.step(found)
        lines(f"Going on after step {step}.", "going_on", step=step)
    trainer.train(resume_from_checkpoint=str(found) if found else None)
    kept = trainer.early_stopping.keep(trainer.state)
    lines.keep(kept.step, kept.because)
    saving = f"{kept.because} Saving the adapter, then reading it back to prove what it computes."
    lines(saving, kept.code, **kept.values)


def check(ready: Ready, spec: TrainingSpec) -> None:
    """Look at what the trainer will be given, before its first step. Raises `Refused`."""
    names = [row.name for row in ready.learned]
    preflight.check(ready.trainer, ready.chat, spec, ready.found.train, names)
    for named in ready.found.held_out:
        check_text(named.name, named.row)


def report(
    ready: Ready, spec: TrainingSpec, lines: StepLines, metrics: dict[str, float], *, ended: bool = True
) -> TrainingReport:
    """What the run did; `metrics` are the method's own figures. What it forgot is measured once its steps are made."""
    trainer, state = ready.trainer, ready.trainer.state
    return TrainingReport(
        steps=state.global_step,
        epochs=state.global_step / steps_a_pass(ready),
        rows=len(ready.learned),
        held_out=len(ready.found.held_out),
        trained_tokens=lines.tokens,
        seconds=round(lines.seconds(), 1),
        metrics=metrics,
        kept_step=lines.kept_step,
        kept_because=lines.kept_because,
        usage=_usage(ready, spec, lines),
        replay=trainer.replay.replayed(lines.kept_step or state.global_step),
        forgetting=_forgetting(trainer, lines) if ended else None,
    )


def _begins(lines: StepLines) -> None:
    number, count = "bf16" if model.multiplies_bf16() else "fp32", processes.count()
    if count == 1:
        lines(f"Training in {number}.", "training", format=number)
        return
    told = f"Training in {number} by {count} processes, which divide each batch."
    lines(told, "training_together", format=number, n=count)


def _leave(ready: Ready, place: Path, spec: TrainingSpec, lines: StepLines) -> None:
    """What the passes so far have made."""
    metrics = {"train_loss": lines.last_epoch("train_loss", steps_a_pass(ready))}
    if lines.after:
        metrics |= {"valid_loss_before": lines.before["valid_loss"], **lines.after}
    so_far = report(ready, spec, lines, metrics, ended=False)
    export.write_pass(place, spec, ready.trainer.model, ready.chat, ready.found, so_far)


def _usage(ready: Ready, spec: TrainingSpec, lines: StepLines) -> Usage:
    longest, seconds = max(row.length for row in ready.learned), lines.step_seconds()
    return Usage(
        machine=fingerprint.machine(), peak_bytes=memory.peak(),
        expected_bytes=memory.expected(Path(spec.base_model), spec.kind, spec.settings, longest),
        step_seconds=round(seconds, 1), tokens_per_second=round(lines.tokens / seconds, 1) if seconds else 0.0,
    )  # fmt: skip


def _forgetting(trainer: Any, lines: StepLines) -> Forgetting | None:
    found: Forgetting | None = trainer.replay.forgetting(trainer.model)
    if found is not None:
        now, before = round(found.same * 100), round(found.same_before * 100)
        lines(
            f"Of 100 words of the base model's own answers to {found.questions} general questions that it never learnt "
            f"from, the tuned model would say {now} too; before this job {before}.",
            "forgetting", n=found.questions, now=now, before=before,
        )  # fmt: skip
    return found


def steps_a_pass(ready: Ready) -> int:
    state = ready.trainer.state
    return state.max_steps // state.num_train_epochs

"""Supervised fine-tuning, from top to bottom: rows, tokens, TRL's `SFTTrainer`, adapter.

The stories of `training.dpo` and `training.kto` run parallel. Knows no other method.
"""

import time
from pathlib import Path

from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from service.contract.jobs import TrainingReport, TrainingSpec
from training import data, export, model, rows
from training.data import ExampleTokens
from training.progress import StepLines


def train(run: Path, spec: TrainingSpec) -> None:
    """Train an adapter on the examples of a run folder and leave its outputs there. Raises `Refused`."""
    started = time.monotonic()
    lines = StepLines(run)

    lines("Reading the examples.")
    found = rows.read(run, spec)
    chat = model.load_chat(Path(spec.base_model))
    learned = data.examples(chat, found.train, spec.settings.max_length)
    held_out = data.examples(chat, found.held_out, spec.settings.max_length)
    lines(data.facts(chat, learned, "examples"))
    if held_out:
        lines(f"{len(held_out)} examples are held out; none of them is learned from.")

    lines("Loading the base model and the adapter." if spec.start_adapter else "Loading the base model.")
    model.score_labels_only()
    trainer = SFTTrainer(
        model=model.load_policy(spec),
        args=SFTConfig(**model.trainer_arguments(run, spec.settings, learned, held_out)),
        train_dataset=_dataset(learned),
        eval_dataset=_dataset(held_out) if held_out else None,
        processing_class=chat.tokenizer,
        callbacks=[lines],
    )
    trainer.remove_callback(PrinterCallback)
    lines(f"Training in {'bf16' if model.multiplies_bf16() else 'fp32'}.")
    trainer.train()

    lines("Saving the adapter, then reading it back to prove what it computes.")
    state = trainer.state
    steps_an_epoch = max(1, state.global_step // spec.settings.n_epochs)
    metrics = {"train_loss": lines.last_epoch("train_loss", steps_an_epoch)}
    if held_out:
        metrics |= {"valid_loss_before": lines.before["valid_loss"], **lines.after}
    report = TrainingReport(
        steps=state.global_step,
        epochs=spec.settings.n_epochs,
        rows=len(learned),
        held_out=len(held_out),
        trained_tokens=lines.tokens,
        seconds=round(time.monotonic() - started, 1),
        metrics=metrics,
    )
    export.write(run, spec, trainer.model, chat, found, report)  # pyright: ignore[reportArgumentType]


def _dataset(tokens: list[ExampleTokens]) -> Dataset:
    """TRL takes `input_ids` and `labels` as they are; `length` lets the sampler batch similar lengths."""
    return Dataset.from_list(
        [{"input_ids": row.input_ids, "labels": row.labels, "length": row.length} for row in tokens]
    )

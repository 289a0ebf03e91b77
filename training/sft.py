"""Supervised fine-tuning, from top to bottom: rows, tokens, TRL's `SFTTrainer`, adapter.

The stories of `training.dpo` and `training.kto` run parallel. Knows no other method.
"""

import itertools
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from service.contract.jobs import TrainingSpec
from training import data, export, model, output_head, rows, steps
from training.checkpoint import Resumable
from training.data import IGNORED, ExampleTokens
from training.divided import Divided
from training.fitting import fitting
from training.progress import StepLines
from training.replay import Replaying


def train(run: Path, spec: TrainingSpec) -> None:
    """Train an adapter on the examples of a run folder and leave its outputs there. Raises `Refused`."""
    lines = StepLines(run)
    ready = prepare(run, spec, lines)
    steps.make(ready, run, spec, lines)

    metrics = {"train_loss": lines.last_epoch("train_loss", steps.steps_a_pass(ready))}
    if ready.found.held_out:
        metrics |= {"valid_loss_before": lines.before["valid_loss"], **lines.after}
    export.write(
        run, spec, ready.trainer.model, ready.chat, ready.found, steps.report(ready, spec, lines, metrics)
    )


def prepare(run: Path, spec: TrainingSpec, lines: StepLines) -> steps.Ready:
    """All that comes before the first step. Raises `Refused`."""
    lines("Reading the examples.", "reading_sft")
    found = rows.read(run, spec)
    rows.tell(found, lines)
    chat = model.load_chat(Path(spec.base_model))
    found = fitting(chat, found, spec, lines)
    learned = data.examples(chat, found.train, spec.settings.max_length)
    held_out = data.examples(chat, found.held_out, spec.settings.max_length)
    lines(data.facts(chat, learned, "examples"), "facts_sft", **data.figures(learned))
    if held_out:
        told = f"{len(held_out)} examples are held out; none of them is learned from."
        lines(told, "held_out", n=len(held_out))

    if spec.start_adapter:
        lines("Loading the base model and the adapter.", "loading_adapter")
    else:
        lines("Loading the base model.", "loading_base")
    trainer = make_trainer(run, spec, chat, learned, held_out, lines)
    return steps.Ready(trainer, chat, found, learned)


def make_trainer(
    run: Path,
    spec: TrainingSpec,
    chat: data.Chat,
    learned: list[ExampleTokens],
    held_out: list[ExampleTokens],
    lines: StepLines,
) -> SFTTrainer:
    """TRL's trainer over tokenised examples."""
    output_head.score_labels_only()
    shared = model.trainer_arguments(run, spec.settings, learned, held_out)
    shared.update(per_device_train_batch_size=spec.settings.batch_size, gradient_accumulation_steps=1)
    return _ResumableSFTTrainer(
        model=model.load_policy(spec),
        args=SFTConfig(**shared),
        train_dataset=_dataset(learned),
        eval_dataset=_dataset(held_out) if held_out else None,
        processing_class=chat.tokenizer,
        callbacks=[lines],
    )


class _InParts(SFTTrainer):
    """`SFTTrainer` that computes a batch in parts of so many tokens."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss is a sum over tokens, divided by those of the whole batch: parts of it add up."""
        return sum(
            super(_InParts, self).training_step(model, part, num_items_in_batch) for part in parts(inputs)
        )

    def prediction_step(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        """The held-out loss is a mean over all tokens, as the training loss is over a batch's; transformers takes one
        of batches by their rows, in which the tokens of short answers would weigh more."""
        found: Any = super().prediction_step(model, inputs, *given, **named)
        weight = _learned(inputs["labels"]) / len(inputs["labels"]) / self._learned_a_row
        return found[0] * weight, *found[1:]

    @cached_property
    def _learned_a_row(self) -> float:
        """Tokens with loss of a held-out row, on average."""
        labels: Any = self.eval_dataset
        return sum(_learned(torch.tensor([row])) for row in labels["labels"]) / len(labels)


class _ResumableSFTTrainer(Replaying, Resumable, Divided, _InParts):
    """The same that goes on where it was interrupted. A share of a batch needs no weight: see `_InParts`."""


def parts(batch: dict[str, torch.Tensor], most: int = model.MICRO_TOKENS) -> list[dict[str, torch.Tensor]]:
    """A batch padded on the right in parts, the shortest rows first, each of at most `most` positions or one row."""
    lengths, order = batch["attention_mask"].sum(1).sort(stable=True)
    starts = [0]
    for at, length in enumerate(lengths.tolist()):
        if at > starts[-1] and (at + 1 - starts[-1]) * length > most:
            starts.append(at)
    return [
        {name: column[order[start:end], : int(lengths[end - 1])] for name, column in batch.items()}
        for start, end in itertools.pairwise([*starts, len(lengths)])
    ]


def _learned(labels: torch.Tensor) -> int:
    """Tokens with loss: the first of a row follows none."""
    return int((labels[:, 1:] != IGNORED).sum())


def _dataset(tokens: list[ExampleTokens]) -> Dataset:
    """TRL takes `input_ids` and `labels` as they are."""
    return Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in tokens])

"""Direct Preference Optimization (arXiv 2305.18290), from pairs to adapter.

The policy is a trainable copy of the start adapter and the reference is that very adapter, frozen; without
a start adapter the reference is the base model (huggingface/trl#1340). TRL makes the frozen copy itself
when it is given a `PeftModel`, under the adapter name `ref`. The reference's log-probabilities never
change, so they are computed once. A small supervised term on the preferred answer keeps its probability
from falling together with the rejected one's (trl#2382; RPO, arXiv 2404.19733). The preference term is the
paper's; or of rewards a token, so that length decides nothing; or robust against pairs the wrong way round (arXiv
2403.00409). The stories of
`training.sft` and `training.kto` run parallel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from service.contract.jobs import TrainingSpec
from training import data, export, model, output_head, rows, steps
from training.checkpoint import Resumable
from training.data import PairTokens
from training.divided import Batch, Divided
from training.fitting import fitting
from training.progress import StepLines
from training.replay import Replaying


def train(run: Path, spec: TrainingSpec) -> None:
    """Train an adapter on the pairs of a run folder and leave its outputs there. Raises `Refused`."""
    lines = StepLines(run)
    ready = prepare(run, spec, lines)
    steps.make(ready, run, spec, lines)
    report = steps.report(ready, spec, lines, _metrics(lines, steps.steps_a_pass(ready)))
    export.write(run, spec, ready.trainer.model, ready.chat, ready.found, report)


def prepare(run: Path, spec: TrainingSpec, lines: StepLines) -> steps.Ready:
    """All that comes before the first step, the reference's answers included. Raises `Refused`."""
    lines("Reading the preference pairs.", "reading_dpo")
    found = rows.read(run, spec)
    rows.tell(found, lines)
    chat = model.load_chat(Path(spec.base_model))
    found = fitting(chat, found, spec, lines)
    learned = data.pairs(chat, found.train, spec.settings.max_length)
    held_out = data.pairs(chat, found.held_out, spec.settings.max_length)
    lines(data.facts(chat, learned, "preference pairs"), "facts_dpo", **data.figures(learned))
    if held_out:
        told = f"{len(held_out)} pairs are held out; none of them is learned from."
        lines(told, "held_out", n=len(held_out))

    reference = "the start adapter" if spec.start_adapter else "the base model"
    lines(
        f"Loading the model and asking the reference, {reference}, how likely it finds each answer.",
        "reference_adapter" if spec.start_adapter else "reference_base",
    )
    trainer = make_trainer(run, spec, chat, learned, held_out, lines)
    return steps.Ready(trainer, chat, found, learned)


def make_trainer(
    run: Path,
    spec: TrainingSpec,
    chat: data.Chat,
    learned: list[PairTokens],
    held_out: list[PairTokens],
    lines: StepLines,
) -> DPOTrainer:
    """TRL's trainer over tokenised pairs, the reference's log-probabilities already in its datasets."""
    output_head.score_labels_only()
    return _TokenisedDPOTrainer(
        model=model.load_policy(spec),
        args=DPOConfig(
            beta=spec.settings.beta,
            loss_type=[spec.settings.loss_type, "sft"],
            loss_weights=[1.0, spec.settings.sft_weight],
            label_smoothing=spec.settings.label_smoothing,
            precompute_ref_log_probs=True,
            **model.trainer_arguments(run, spec.settings, learned, held_out),
        ),
        train_dataset=_dataset(learned),
        eval_dataset=_dataset(held_out) if held_out else None,
        processing_class=chat.tokenizer,
        callbacks=[lines],
    )


class _TokenisedDPOTrainer(Replaying, Resumable, Divided, DPOTrainer):
    """`DPOTrainer` that takes token ids as they are: TRL would tokenise the text again, its own way."""

    sequences = 2

    @contextmanager
    def weighed(self, whole: Batch, own: Batch) -> Iterator[None]:
        """TRL's preference term is a mean over pairs, its supervised one over the tokens of preferred answers."""
        pairs, learned = self._rows(own) / self._rows(whole), _preferred(own) / _preferred(whole)
        kept = preference, supervised = self.loss_weights
        self.loss_weights = [preference * pairs, supervised * learned]
        try:
            yield
        finally:
            self.loss_weights = kept

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _compute_loss(self, model: Any, inputs: Batch, *given: Any, **named: Any) -> Any:
        """TRL tells the rewards of whole answers whatever the loss; of `sigmoid_norm` they are by the token."""
        if "sigmoid_norm" not in self.loss_types:
            return super()._compute_loss(model, inputs, *given, **named)
        heard: list[torch.Tensor] = []
        hook = model.register_forward_hook(lambda *said: heard.append(said[-1].log_probs.detach().sum(1)))
        try:
            loss = super()._compute_loss(model, inputs, *given, **named)
        finally:
            hook.remove()
        reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        rewards = self.beta * (heard[0] - reference) / inputs["completion_mask"].sum(1).clamp(min=1)
        chosen, rejected = rewards.chunk(2)
        figures = self._metrics["train" if model.training else "eval"]
        for name, values in (
            ("chosen", chosen), ("rejected", rejected), ("margins", chosen - rejected),
            ("accuracies", (chosen > rejected).float()),
        ):  # fmt: skip
            figures[f"rewards/{name}"][-1] = values.mean().item()
        return loss


def _preferred(batch: Batch) -> int:
    """Tokens of the preferred answers, which stand in the first half of a batch."""
    mask = batch["completion_mask"]
    return int(mask[: len(mask) // 2].sum())


def _dataset(tokens: list[PairTokens]) -> Dataset:
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_list([{name: getattr(row, name) for name in columns} for row in tokens])


def _metrics(lines: StepLines, steps_an_epoch: int) -> dict[str, float]:
    """Training figures over the last epoch, held-out figures before the first step and after the last.

    Before the first step policy and reference are one, so margin and accuracy start at 0.
    """
    metrics = {
        "train_loss": lines.last_epoch("train_loss", steps_an_epoch),
        "train_reward_accuracy": lines.last_epoch("reward_accuracy", steps_an_epoch),
        "train_reward_margin": lines.last_epoch("reward_margin", steps_an_epoch),
    }
    if lines.after:
        metrics |= {
            "valid_loss_before": lines.before["valid_loss"],
            "valid_loss": lines.after["valid_loss"],
            "reward_accuracy_before": lines.before["valid_reward_accuracy"],
            "reward_accuracy": lines.after["valid_reward_accuracy"],
            "reward_margin_before": lines.before["valid_reward_margin"],
            "reward_margin": lines.after["valid_reward_margin"],
        }
    return metrics

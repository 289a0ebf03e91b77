"""Kahneman-Tversky Optimization (arXiv 2402.01306), from rated completions to adapter.

As in `training.dpo`, whose story runs parallel, the policy is a trainable copy of the start adapter and the
reference is that very adapter, frozen; without a start adapter it is the base model. A completion's implied
reward is beta times the logarithm of how much likelier the policy finds it than the reference does. KTO
pushes desirable rewards above, undesirable ones below the KL divergence between the two, which it estimates
on mismatched rows: each prompt with an answer to another. TRL rotates the answers within a batch, where
neighbours may share a prompt and a last batch of one is its own neighbour; here every row brings its own
mismatched answer along (`data.mismatched`), so that its reference too is computed once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from service.contract.jobs import TrainingSpec
from training import data, export, model, output_head, processes, rows, steps
from training.checkpoint import Resumable
from training.data import IGNORED, RatedTokens
from training.divided import Batch, Divided
from training.fitting import fitting, matched
from training.progress import StepLines
from training.refusal import Refused
from training.replay import Replaying

TOGETHER = 2
"""Rows in a forward pass at least, but for the last of an epoch: TRL's KL estimate is a mean over them."""


def train(run: Path, spec: TrainingSpec) -> None:
    """Train an adapter on the rated completions of a run folder and leave its outputs there. Raises `Refused`."""
    lines = StepLines(run)
    ready = prepare(run, spec, lines)
    steps.make(ready, run, spec, lines)
    report = steps.report(ready, spec, lines, _metrics(lines, steps.steps_a_pass(ready)))
    export.write(run, spec, ready.trainer.model, ready.chat, ready.found, report)


def prepare(run: Path, spec: TrainingSpec, lines: StepLines) -> steps.Ready:
    """All that comes before the first step, the reference's answers included. Raises `Refused`."""
    lines("Reading the rated completions.", "reading_kto")
    found = rows.read(run, spec)
    rows.tell(found, lines)
    chat = model.load_chat(Path(spec.base_model))
    found = fitting(chat, found, spec, lines)
    learned = data.rated(chat, found.train, spec.settings.max_length)
    held_out = data.rated(chat, found.held_out, spec.settings.max_length)
    found, learned, held_out = matched(found, learned, held_out, spec, lines)
    learned = data.in_turn(learned, spec.settings.seed)
    lines(data.facts(chat, learned, "rated completions"), "facts_kto", **data.figures(learned))
    desirable = sum(row.label for row in learned)
    lines(
        f"{desirable} are desirable and count {spec.settings.desirable_weight:g} each, "
        f"{len(learned) - desirable} are not and count {spec.settings.undesirable_weight:g}.",
        "labels", good=desirable, good_weight=spec.settings.desirable_weight, bad=len(learned) - desirable,
        bad_weight=spec.settings.undesirable_weight,
    )  # fmt: skip
    if held_out:
        told = f"{len(held_out)} completions are held out; none of them is learned from."
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
    learned: list[RatedTokens],
    held_out: list[RatedTokens],
    lines: StepLines,
) -> KTOTrainer:
    """TRL's trainer over tokenised rows, the reference's log-probabilities already in its datasets."""
    settings = spec.settings
    if settings.batch_size % TOGETHER:
        raise Refused(
            "bad_job",
            f"batch_size is {settings.batch_size}; KTO needs an even number, so that a forward pass can hold "
            "more than one row.",
            "batch_size",
        )
    output_head.score_labels_only()
    shared = model.trainer_arguments(run, settings, learned, held_out, together=TOGETHER)
    shared["train_sampling_strategy"] = "sequential"  # in the order of `data.in_turn`; TRL asks for it too
    return _TokenisedKTOTrainer(
        model=model.load_policy(spec),
        args=KTOConfig(
            beta=settings.beta,
            desirable_weight=settings.desirable_weight,
            undesirable_weight=settings.undesirable_weight,
            precompute_ref_log_probs=True,
            **shared,
        ),
        train_dataset=_dataset(learned, learned, settings.max_length),
        eval_dataset=_dataset(held_out, held_out + learned, settings.max_length) if held_out else None,
        processing_class=chat.tokenizer,
        callbacks=[lines],
    )


class _TokenisedKTOTrainer(Replaying, Resumable, Divided, KTOTrainer):
    """`KTOTrainer` that takes token ids as they are, and measures all held-out rows against one KL estimate."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    @contextmanager
    def weighed(self, whole: Batch, own: Batch) -> Iterator[None]:
        """TRL's loss is a mean over rows, each with the weight of its label."""
        kept, part = (self.desirable_weight, self.undesirable_weight), self._rows(own) / self._rows(whole)
        self.desirable_weight, self.undesirable_weight = (weight * part for weight in kept)
        try:
            yield
        finally:
            self.desirable_weight, self.undesirable_weight = kept

    def _compute_kl_logps(self, model: Any, batch: Batch) -> Any:
        """Such that TRL's KL estimate, a mean over the rows it is given, is one over the whole batch's."""
        found = super()._compute_kl_logps(model, batch)
        if processes.count() == 1:
            return found
        return batch["ref_KL_logps"] + processes.mean(found - batch["ref_KL_logps"])

    def without_rows(self) -> None:
        kl = processes.mean(torch.zeros(0, device=self.args.device))
        self._metrics["train"]["kl"].append(kl.clamp(min=0).item())

    def complete(self, figures: dict[str, list[float]]) -> None:
        """A share may hold rows of one label alone, and has no margin then."""
        sides = [figures.get(f"rewards/{side}") for side in ("desirable", "undesirable")]
        if all(sides):
            good, bad = (sum(side or ()) / len(side or ()) for side in sides)
            figures["rewards/margins"] = [good - bad]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Figures of the held-out rows. TRL would take the mean of means over batches, each with a KL of its own."""
        policy: Any = self.model
        policy.eval()
        with torch.no_grad(), self.accelerator.autocast():
            parts = [self._measured(self._prepare_inputs(batch)) for batch in self.get_eval_dataloader()]
        found, ratios, mismatched, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        figures = _figures(self.args, ratios, mismatched, labels)
        for name, side in (("desirable", labels), ("undesirable", ~labels)):
            if side.any():
                figures[f"eval_logps/{name}"] = found[side].mean().item()
        self.log(figures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _measured(self, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """Of each row: its answer's log-probability, its log-ratio to the reference's, the same ratio of its mismatched
        answer, its label."""
        found = self._logps(batch, "")
        return (
            found,
            found - batch["ref_logps"],
            self._logps(batch, "KL_") - batch["ref_KL_logps"],
            batch["label"].bool(),
        )

    def _logps(self, batch: dict[str, Any], which: str) -> torch.Tensor:
        """The policy's log-probability of each whole answer, as TRL computes it of policy and reference."""
        ids = batch[f"{which}input_ids"]
        policy: Any = self.model
        found = policy(
            input_ids=ids,
            attention_mask=batch[f"{which}attention_mask"],
            labels=ids.masked_fill(batch[f"{which}completion_mask"] == 0, IGNORED),
            use_cache=False,
            fused_lm_head=True,
        )
        return found.log_probs.sum(-1)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A rated answer was not chosen before another: TRL's names for the two labels are DPO's."""
        figures = self._metrics["train"]
        for theirs, ours in (("chosen", "desirable"), ("rejected", "undesirable")):
            for what in ("rewards", "logps"):
                if (name := f"{what}/{theirs}") in figures:
                    figures[f"{what}/{ours}"] = figures.pop(name)
        super().log(logs, start_time)


def _dataset(tokens: list[RatedTokens], pool: list[RatedTokens], max_length: int) -> Dataset:
    answers = data.mismatched(tokens, pool, max_length)
    columns = ("prompt_ids", "completion_ids", "label")
    return Dataset.from_list(
        [
            {**{name: getattr(row, name) for name in columns}, "KL_completion_ids": answer}
            for row, answer in zip(tokens, answers, strict=True)
        ]
    )


def _figures(
    args: Any, ratios: torch.Tensor, mismatched: torch.Tensor, labels: torch.Tensor
) -> dict[str, float]:
    """The paper's loss (equation 7) over all held-out rows, and how many rewards are on their side of the KL."""
    kl = mismatched.mean().clamp(min=0)
    right_by = torch.where(labels, ratios - kl, kl - ratios)
    weights = torch.where(labels, args.desirable_weight, args.undesirable_weight)
    figures = {
        "eval_loss": (weights * (1 - torch.sigmoid(args.beta * right_by))).mean().item(),
        "eval_rewards/accuracies": (right_by > 0).float().mean().item(),
        "eval_kl": kl.item(),
    }
    for name, side in (("desirable", labels), ("undesirable", ~labels)):
        if side.any():
            figures[f"eval_rewards/{name}"] = args.beta * ratios[side].mean().item()
    if labels.any() and not labels.all():
        figures["eval_rewards/margins"] = (
            figures["eval_rewards/desirable"] - figures["eval_rewards/undesirable"]
        )
    return figures


def _metrics(lines: StepLines, steps_an_epoch: int) -> dict[str, float]:
    """Training figures over the last epoch, held-out figures before the first step and after the last.

    Before the first step policy and reference are one, so rewards and accuracy start at 0. Held-out rows that
    all carry one label have no margin.
    """
    metrics = {
        "train_loss": lines.last_epoch("train_loss", steps_an_epoch),
        "train_reward_desirable": lines.last_epoch("reward_desirable", steps_an_epoch),
        "train_reward_undesirable": lines.last_epoch("reward_undesirable", steps_an_epoch),
        "train_kl": lines.last_epoch("kl", steps_an_epoch),
    }
    for name, figure in lines.after.items():
        ours = name if name == "valid_loss" else name.removeprefix("valid_")
        metrics |= {f"{ours}_before": lines.before[name], ours: figure}
    return metrics

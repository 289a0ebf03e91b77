"""A step divided over several processes: each computes its rows of every batch, and the gradients are added up.

All of them draw the same batches, whole; a batch is what it is for one process, so that steps, schedule and the rows of
a step stay. Each method weighs its share so that the sum of the shares' losses is the whole batch's loss, whatever the
lengths of the rows, and each process then makes the same step with the same sum. PyTorch's own wrapper (DDP) means over
processes instead, and counts on equal shares. Knows no loss.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from training import processes

Batch = dict[str, Any]


class Divided:
    """A trainer of transformers that computes its share of a batch: stands before it as a parent, after all others."""

    sequences = 1
    """Of a row, in a batch: they stand in so many blocks of all rows."""
    _loss: torch.Tensor | None = None
    """Of this process's shares of the present step, so far."""
    _seen = 0
    """Rows of the present step so far: the next goes to the process whose turn it is, however short the batches are."""
    _asked = 0
    """Rows that the reference was asked about."""

    def weighed(self, whole: Batch, own: Batch) -> AbstractContextManager[None]:
        """In it the trainer's loss of a share is that share of the whole batch's loss."""
        return nullcontext()

    def without_rows(self) -> None:
        """Say what the others wait for, where a batch has no row for this process."""

    def complete(self, figures: dict[str, list[float]]) -> None:
        """Add to a step's figures what no share alone could tell."""

    def training_step(self: Any, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        if processes.count() == 1:
            return super().training_step(model, inputs, num_items_in_batch)  # pyrefly: ignore[missing-attribute]
        own = _share(inputs, self._rows(inputs), self._seen)
        self._seen += self._rows(inputs)
        loss = torch.zeros((), device=self.args.device)
        model.train()
        if self._rows(own):
            with self.weighed(inputs, own):
                loss += super().training_step(model, own, num_items_in_batch)  # pyrefly: ignore[missing-attribute]
        else:
            self.without_rows()
        self._loss = loss if self._loss is None else self._loss + loss
        if not self.accelerator.sync_gradients:
            return torch.zeros_like(loss)
        whole, self._loss, self._seen = _add_up(model, self._loss), None, 0
        return whole

    def compute_ref_log_probs(self: Any, model: Any, inputs: Batch) -> Any:
        """The reference is asked about each row once: what one process hears, all know."""
        if processes.count() == 1:
            return super().compute_ref_log_probs(model, inputs)  # pyrefly: ignore[missing-attribute]
        rows, before = self._rows(inputs), self._asked
        own = _share(inputs, rows, before)
        self._asked += rows
        found = super().compute_ref_log_probs(model, own) if self._rows(own) else ()  # pyrefly: ignore[missing-attribute]
        heard = processes.gathered([values.cpu() for values in found])
        wholes = tuple(torch.empty(rows, dtype=values.dtype) for values in max(heard, key=len))
        for at, parts in enumerate(heard):
            for whole, part in zip(wholes, parts, strict=False):
                whole[(at - before) % len(heard) :: len(heard)] = part
        return tuple(whole.to(self.args.device) for whole in wholes)

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """A step's figures are told of all shares."""
        if processes.count() > 1 and self.model.training:
            said = processes.gathered((dict(self._metrics["train"]), self._total_train_tokens))
            figures = self._metrics["train"]
            figures.clear()
            for own, _ in said:
                for name, values in own.items():
                    figures[name] += values
            if figures:
                figures["num_tokens"] = [sum(tokens for _, tokens in said)]
            self.complete(figures)
        super().log(logs, start_time)  # pyrefly: ignore[missing-attribute]

    def _rows(self, batch: Batch) -> int:
        return len(batch["input_ids"]) // self.sequences


def _share(batch: Batch, rows: int, before: int) -> Batch:
    """This process's rows of a batch after so many others. Its columns hold one or more blocks of all rows."""
    return {name: column[list(_places(len(column), rows, before))] for name, column in batch.items()}


def _places(length: int, rows: int, before: int) -> Iterator[int]:
    for block in range(0, length, rows):
        yield from processes.share(range(block, block + rows), before)


def _add_up(model: Any, loss: torch.Tensor) -> torch.Tensor:
    """Everybody's gradients and losses, in one message. Leaves the gradients, returns the loss."""
    learned = [each for each in model.parameters() if each.requires_grad]
    own = [torch.zeros_like(each) if each.grad is None else each.grad for each in learned]
    whole = processes.add_up(torch.cat([*(each.flatten() for each in own), loss.flatten()]))
    for each, part in zip(learned, whole[:-1].split([each.numel() for each in learned]), strict=True):
        each.grad = part.view_as(each)
    return whole[-1]

"""What a run is about to learn, seen with other eyes before its first step: each fault that would spoil it, by name.

Looks at what the trainer will really be given: the template at work, the batches that its collator makes, the
reference that stands in its datasets. Written apart from `training.data`, whose work it checks: the tokens that carry
loss are read back as text (`training.reading_back`). Owns the names of the faults that only a batch or weights show.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from service.contract.chat import Message
from service.contract.datasets import PreferencePair, Row
from service.contract.jobs import TrainingSpec
from training.data import IGNORED, Chat
from training.model import multiplies_bf16
from training.reading_back import OURS, answers, check_loss, check_text, stretches
from training.refusal import Refused
from training.rows import NamedRow

BATCH = 8
SOME = 4
"""Rows whose probabilities are computed here: the longest."""
AT_ONCE = 128
"""Tokens whose probabilities stand in fp32 at once: those of a long row would be the run's peak of memory."""
AGREE = {torch.bfloat16: 0.05, torch.float32: 0.005}
"""How far, a token, a policy that has learned nothing may be from its reference: mean log-probabilities."""


def check(
    trainer: Any, chat: Chat, spec: TrainingSpec, rows: Sequence[NamedRow], names: Sequence[str]
) -> None:
    """Refuse a trainer that would learn the wrong thing; `names` are those of its rows, in its order.

    Raises `Refused` with code `nan_row`, `user_tokens_in_loss`, `padding_in_loss`, `pad_is_end_of_sequence`,
    `no_end_of_sequence`, `wrong_template` or `wrong_reference`.
    """
    of_name = {named.name: named.row for named in rows}
    data = trainer.train_dataset
    for at in range(0, len(data), BATCH):
        chunk = [data[i] for i in range(at, min(at + BATCH, len(data)))]
        rows_of_chunk = [(name, of_name[name]) for name in names[at : at + BATCH]]
        for name, row in rows_of_chunk:
            check_text(name, row)
        _check_batch(chat, trainer.data_collator(chunk), rows_of_chunk)
    _check_probabilities(trainer, spec, names)


def _check_batch(chat: Chat, batch: dict[str, Any], rows: list[tuple[str, Row]]) -> None:
    """A batch as the collator makes it, held against the rows' own words."""
    ids, padding = batch["input_ids"], batch["attention_mask"] == 0
    loss = batch["labels"] != IGNORED if "labels" in batch else batch["completion_mask"].bool()
    for at, (name, row, told) in enumerate(_in_order(rows)):
        if (loss[at] & padding[at]).any():
            raise Refused("padding_in_loss", f"{name}: padding carries loss. {OURS}", name)
        check_loss(chat, name, row, told, stretches(ids[at].tolist(), loss[at].tolist()))


def _check_probabilities(trainer: Any, spec: TrainingSpec, names: Sequence[str]) -> None:
    """What a model that has learned nothing yet finds likely: numbers, and those of its reference."""
    data = trainer.train_dataset
    known = {"ref_chosen_logps": "chosen_ids", "ref_logps": "completion_ids"}
    column = next((name for name in known if name in data.column_names), None)
    if column is not None:
        for name, value in zip(names, data[column], strict=True):
            _refuse_nan(name, float(value))
    answer = known.get(column or "", "labels")
    agree = AGREE[torch.bfloat16 if multiplies_bf16() else torch.float32]
    trainer.model.eval()
    for at in sorted(range(len(data)), key=lambda i: -len(data[i][answer]))[:SOME]:
        row = data[at]
        if column is None:
            before = next(i for i, label in enumerate(row["labels"]) if label != IGNORED)
            prompt, completion = row["input_ids"][:before], row["input_ids"][before:]
        else:
            prompt, completion = row["prompt_ids"], row[answer]
        found = _logprob(trainer.model, prompt, completion)
        _refuse_nan(names[at], found)
        if column is not None and abs(found - row[column]) > agree * len(completion):
            raise Refused(
                "wrong_reference",
                f"{names[at]}: before the first step the model and its reference must agree, but find the answer "
                f"{found:.1f} and {row[column]:.1f} likely (log-probability). The reference is not "
                f"{'the adapter that the job starts from' if spec.start_adapter else 'the base model'}. {OURS}",
                names[at],
            )


@torch.no_grad()
def _logprob(model: Any, prompt: list[int], completion: list[int]) -> float:
    ids = torch.tensor([prompt + completion], device=model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=multiplies_bf16()):
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    parts = zip(logits.split(AT_ONCE), ids[0, len(prompt) :].split(AT_ONCE), strict=True)
    return -sum(cross_entropy(told.float(), said, reduction="sum").item() for told, said in parts)


def _refuse_nan(name: str, value: float) -> None:
    if value != value or value in (float("inf"), float("-inf")):
        raise Refused(
            "nan_row",
            f"{name}: the model's log-probability of the answer is {value}, not a number. Remove the row; if every row "
            "is refused, the base model or the adapter to start from is broken.",
            name,
        )


def _in_order(rows: list[tuple[str, Row]]) -> Iterator[tuple[str, Row, list[Message]]]:
    """The sequences of a batch: one for each row; of pairs all preferred answers first, then the others."""
    for name, row in rows:
        yield name, row, [row.preferred_output[0]] if isinstance(row, PreferencePair) else answers(row)
    for name, row in rows:
        if isinstance(row, PreferencePair):
            yield name, row, [row.non_preferred_output[0]]

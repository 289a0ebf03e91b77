"""What a run is about to learn, seen with other eyes before its first step: each fault that would spoil it, by name.

Looks at what the trainer will really be given: the template at work, the batches that its collator makes, the
reference that stands in its datasets. Written apart from `training.data`, whose work it checks: it reads the tokens
that carry loss back as text and holds them against the text of the row. Owns the names of these faults.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from service.contract.chat import Message
from service.contract.datasets import Example, PreferencePair, Row
from service.contract.jobs import TrainingSpec
from training.data import IGNORED, Chat, wrong_template
from training.model import multiplies_bf16
from training.refusal import Refused
from training.rows import NamedRow

BATCH = 8
SOME = 4
"""Rows whose probabilities are computed here: the longest."""
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
            _check_text(name, row)
        _check_batch(chat, trainer.data_collator(chunk), rows_of_chunk)
    _check_probabilities(trainer, spec, names)


def _check_text(name: str, row: Row) -> None:
    for answer in _answers(row):
        if answer.text().strip().lower() == "nan":
            raise Refused(
                "nan_row",
                f"{name}: the answer is '{answer.text().strip()}', which is what a missing value becomes when a "
                "table is saved as text. Write the answer, or remove the row.",
                name,
            )


def _check_batch(chat: Chat, batch: dict[str, Any], rows: list[tuple[str, Row]]) -> None:
    """A batch as the collator makes it, held against the rows' own words."""
    ids, padding = batch["input_ids"], batch["attention_mask"] == 0
    loss = batch["labels"] != IGNORED if "labels" in batch else batch["completion_mask"].bool()
    for at, (name, row, answers) in enumerate(_in_order(rows)):
        if (loss[at] & padding[at]).any():
            raise Refused("padding_in_loss", f"{name}: padding carries loss. {_OURS}", name)
        _check_loss(chat, name, row, answers, _stretches(ids[at].tolist(), loss[at].tolist()))


def _check_loss(chat: Chat, name: str, row: Row, answers: list[Message], stretches: list[list[int]]) -> None:
    """The stretches of tokens that carry loss are the answers to learn, each with its end."""
    if len(stretches) < len(answers):
        raise Refused("no_loss", f"{name}: an answer to learn carries no loss. {_OURS}", name)
    others = [_letters(message.text()) for message in _all(row) if message not in answers]
    for place, stretch in enumerate(stretches):
        answer = answers[min(place, len(answers) - 1)]
        ended = stretch[-1] in chat.stops
        text, wanted = (
            _letters(chat.tokenizer.decode(stretch[:-1] if ended else stretch)),
            _letters(answer.text()),
        )
        if chat.tokenizer.unk_token_id in stretch:
            wanted = text  # what the tokenizer does not know cannot be read back
        more = text.replace(wanted, "", 1)
        if len(stretches) > len(answers) or any(other and other in more for other in others):
            raise Refused(
                "user_tokens_in_loss",
                f"{name}: tokens that are not the assistant's carry loss, as in "
                f"'{chat.tokenizer.decode(stretch)[:60]}': the model would learn to ask. {_OURS}",
                name,
            )
        if wanted not in text:
            raise wrong_template(f"changes the answer of {name} to '{chat.tokenizer.decode(stretch)[:60]}'")
        if not ended:
            raise _no_end(chat, name)


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
                f"{'the adapter that the job starts from' if spec.start_adapter else 'the base model'}. {_OURS}",
                names[at],
            )


@torch.no_grad()
def _logprob(model: Any, prompt: list[int], completion: list[int]) -> float:
    ids = torch.tensor([prompt + completion], device=model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=multiplies_bf16()):
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None]).sum().item()


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
        yield name, row, [row.preferred_output[0]] if isinstance(row, PreferencePair) else _answers(row)
    for name, row in rows:
        if isinstance(row, PreferencePair):
            yield name, row, [row.non_preferred_output[0]]


def _answers(row: Row) -> list[Message]:
    """What a row has to learn, or to unlearn."""
    if isinstance(row, Example):
        told = [message for message in row.messages if message.role == "assistant"]
        return [message for message in told if (message.model_extra or {}).get("weight") != 0]
    if isinstance(row, PreferencePair):
        return [row.preferred_output[0], row.non_preferred_output[0]]
    return [row.completion[0]]


def _all(row: Row) -> list[Message]:
    if isinstance(row, Example):
        return row.messages
    return row.input.messages if isinstance(row, PreferencePair) else row.prompt


def _stretches(ids: list[int], loss: list[bool]) -> list[list[int]]:
    """The tokens that carry loss, stretch by stretch."""
    found: list[list[int]] = []
    for at, (token, counts) in enumerate(zip(ids, loss, strict=True)):
        if counts and at and loss[at - 1]:
            found[-1].append(token)
        elif counts:
            found.append([token])
    return found


def _letters(text: str) -> str:
    """Without what templates and tokenizers may change: white space, case, the form of a character."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _no_end(chat: Chat, name: str) -> Refused:
    if chat.tokenizer.pad_token_id in chat.stops:
        return Refused(
            "pad_is_end_of_sequence",
            f"{name}: padding and the end of an answer are one token, and the end was left out of the loss with the "
            f"padding: the model would never learn to stop. {_OURS}",
            name,
        )
    return Refused(
        "no_end_of_sequence",
        f"{name}: the end of the answer carries no loss: the model would never learn to stop. {_OURS}",
        name,
    )


_OURS = "This is a fault of the training code or its libraries and not of the rows; nothing was trained."

"""What the tokens that carry loss say, read back as text and held against the words of their row.

Written apart from `training.data`, whose work it checks. Owns the names of the faults that are seen in a row alone.
Knows no trainer and no weights: `training.preflight` looks at batches with it, `training.estimates` at rows.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from jinja2 import TemplateError

from service.contract.chat import Message
from service.contract.datasets import Example, Origin, PreferencePair, Row, is_missing
from training.data import Chat, wrong_template
from training.refusal import Refused
from training.rows import prompt_messages

OURS = "This is a fault of the training code or its libraries and not of the rows; nothing was trained."


def check_text(name: str, row: Row) -> None:
    """Refuse an answer that is a missing value, and a question, unless a person asked it. Code `nan_row`."""
    said = [("answer", answer) for answer in answers(row)]
    if not isinstance(row.tailorbird, Origin):
        said += [("question", message) for message in prompt_messages(row) if message.role == "user"]
    for what, message in said:
        if is_missing(message.text()):
            raise Refused(
                "nan_row",
                f"{name}: the {what} is '{message.text().strip()}', which is what a missing value becomes when a "
                f"table is saved as text. Write the {what}, or remove the row.",
                name,
            )


def check_loss(chat: Chat, name: str, row: Row, told: list[Message], stretches: list[list[int]]) -> None:
    """The stretches of tokens that carry loss are the answers to learn, each with its end."""
    if len(stretches) < len(told):
        raise Refused("no_loss", f"{name}: an answer to learn carries no loss. {OURS}", name)
    others = [_letters(message.text()) for message in _all(row) if message not in told]
    for place, stretch in enumerate(stretches):
        answer = told[min(place, len(told) - 1)]
        ended = stretch[-1] in chat.stops
        text, wanted = (
            _letters(chat.tokenizer.decode(stretch[:-1] if ended else stretch)),
            _letters(answer.text()),
        )
        if chat.tokenizer.unk_token_id in stretch:
            wanted = text  # what the tokenizer does not know cannot be read back
        more = text.replace(_put_before(chat), "", 1).replace(wanted, "", 1)
        if len(stretches) > len(told) or any(other and other in more for other in others):
            raise Refused(
                "user_tokens_in_loss",
                f"{name}: tokens that are not the assistant's carry loss, as in "
                f"'{chat.tokenizer.decode(stretch)[:60]}': the model would learn to ask. {OURS}",
                name,
            )
        if wanted not in text:
            raise wrong_template(f"changes the answer of {name} to '{chat.tokenizer.decode(stretch)[:60]}'")
        if not ended:
            raise _no_end(chat, name)


def answers(row: Row) -> list[Message]:
    """What a row has to learn, or to unlearn."""
    if isinstance(row, Example):
        told = [message for message in row.messages if message.role == "assistant"]
        return [message for message in told if (message.model_extra or {}).get("weight") != 0]
    if isinstance(row, PreferencePair):
        return [row.preferred_output[0], row.non_preferred_output[0]]
    return [row.completion[0]]


def stretches(ids: Sequence[int], loss: Sequence[bool]) -> list[list[int]]:
    """The tokens that carry loss, stretch by stretch."""
    found: list[list[int]] = []
    for at, (token, counts) in enumerate(zip(ids, loss, strict=True)):
        if counts and at and loss[at - 1]:
            found[-1].append(token)
        elif counts:
            found.append([token])
    return found


def _all(row: Row) -> list[Message]:
    if isinstance(row, Example):
        return row.messages
    return row.input.messages if isinstance(row, PreferencePair) else row.prompt


@lru_cache(maxsize=4)
def _put_before(chat: Chat) -> str:
    """What the template itself begins an answer with, where it does: empty thoughts, of models that think."""
    asked, answer = [{"role": "user", "content": "?"}], {"role": "assistant", "content": "0123456789"}
    try:
        before = chat.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        whole = chat.tokenizer.apply_chat_template([*asked, answer], tokenize=False)
    except TemplateError:  # of one that takes no question alone; what is a row's is refused by its name
        return ""
    return (
        _letters(whole.removeprefix(before).split(answer["content"])[0]) if whole.startswith(before) else ""
    )


def _letters(text: str) -> str:
    """Without what templates and tokenizers may change: white space, case, the form of a character."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _no_end(chat: Chat, name: str) -> Refused:
    if chat.tokenizer.pad_token_id in chat.stops:
        return Refused(
            "pad_is_end_of_sequence",
            f"{name}: padding and the end of an answer are one token, and the end was left out of the loss with the "
            f"padding: the model would never learn to stop. {OURS}",
            name,
        )
    return Refused(
        "no_end_of_sequence",
        f"{name}: the end of the answer carries no loss: the model would never learn to stop. {OURS}",
        name,
    )

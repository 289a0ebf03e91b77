"""The prompts of a few rows as the trainer reads them, left in `prompts.jsonl` for the engine to be asked for the same.

Owns which rows and which prompt of each: that of the last answer which is learned, cut out of what is really trained.
Knows no engine.
"""

from collections.abc import Sequence
from pathlib import Path

from service.contract import folder
from service.contract.chat import Message
from service.contract.datasets import Example
from service.contract.rendering import Rendered
from training.data import IGNORED, Chat, ExampleTokens, PairTokens, RatedTokens
from training.rows import NamedRow, plain, prompt_messages

PROMPTS = 8
"""Rows at most, evenly spread."""

Tokens = ExampleTokens | PairTokens | RatedTokens


def write(run: Path, chat: Chat, rows: Sequence[NamedRow], learned: Sequence[Tokens]) -> None:
    """Leave the prompts of a few of the rows that were turned into tokens; `rows` hold them all, by name."""
    of_name = {named.name: named for named in rows}
    some = learned[:: max(1, -(-len(learned) // PROMPTS))]
    lines = [_rendered(chat, of_name[token.name], token).model_dump_json() + "\n" for token in some]
    folder.write_atomic(run / folder.PROMPTS, "".join(lines))


def _rendered(chat: Chat, named: NamedRow, token: Tokens) -> Rendered:
    if isinstance(token, ExampleTokens):
        assert isinstance(named.row, Example)
        messages, ids = _before_last_answer(named.row), token.input_ids[: _last_answer(token)]
    else:
        messages, ids = prompt_messages(named.row), token.prompt_ids
    texts = [chat.tokenizer.decode([one]) for one in ids]
    return Rendered(row=token.name, messages=plain(messages), tokens=ids, texts=texts)


def _before_last_answer(row: Example) -> list[Message]:
    learned = [
        at for at, message in enumerate(row.messages)
        if message.role == "assistant" and (message.model_extra or {}).get("weight") != 0
    ]  # fmt: skip
    return row.messages[: learned[-1]]


def _last_answer(token: ExampleTokens) -> int:
    """Where the last stretch with loss begins."""
    start = len(token.labels)
    while start and token.labels[start - 1] != IGNORED:
        start -= 1
    return start

"""The words of a converted row, by what they are for: its prompt, its answers, all of it."""

import hashlib
from typing import Any

from service.contract.chat import text_of
from service.contract.datasets import Kind

Row = dict[str, Any]


def prompt(row: Row, kind: Kind) -> list[Row]:
    """Messages that stand before the (last) answer."""
    if kind == "sft":
        return row["messages"][:-1]
    return row["input"]["messages"] if kind == "dpo" else row["prompt"]


def answers(row: Row, kind: Kind) -> list[Row]:
    """The answer that is learnt first; in a pair the rejected one after it."""
    if kind == "sft":
        return row["messages"][-1:]
    if kind == "dpo":
        return [row["preferred_output"][0], row["non_preferred_output"][0]]
    return row["completion"]


def text(message: Row) -> str:
    return text_of(message.get("content"))


def number(said: str) -> int:
    """The eight bytes that a text is known by among a million, as a number."""
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest())


def questions(row: Row, kind: Kind) -> list[str]:
    """What the person said before the answer, the last question last."""
    return [text(one) for one in prompt(row, kind) if one["role"] == "user"]


def spoken(row: Row, kind: Kind) -> str:
    """All that is said in a row, instructions left out: they are the same in row after row."""
    said = [text(one) for one in prompt(row, kind) if one["role"] not in ("system", "developer")]
    return "\n".join([*said, *(text(one) for one in answers(row, kind))])


def whole(row: Row, kind: Kind) -> str:
    """Everything, the label of a rated completion included: equal for two rows that teach the same."""
    said = [f"{one['role']}:{text(one).strip()}" for one in [*prompt(row, kind), *answers(row, kind)]]
    return "\x00".join([*said, str(row.get("label"))])

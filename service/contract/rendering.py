"""A prompt as tokens: what the trainer makes of it, and whether the engine makes the same of it before it is trained.

Owns the shape of a line of `prompts.jsonl`, and what came of asking. Knows no tokenizer and no engine.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal

from service.contract.base import Strict


class Rendered(Strict):
    """One line of `prompts.jsonl`: the prompt of a row's last answer that is learned."""

    row: str
    """Where it stands, such as `train.jsonl line 12`."""
    messages: list[dict[str, Any]]
    tokens: list[int]
    """As the trainer reads them."""
    texts: list[str]
    """Each of them read back alone."""


class Rendering(Strict):
    """What came of asking the engine for the tokens of the trainer's prompts."""

    state: Literal["same", "different", "unchecked"]
    prompts: int = 0
    """That were compared, spread over the rows."""
    sha256: str | None = None
    """Of the trainer's tokens: the engine's have the same where they are the same."""
    row: str | None = None
    """The first whose prompt is another to the engine."""
    because: str


def tokens_sha256(prompts: Iterable[list[int]]) -> str:
    """SHA-256 of the prompts' tokens as a JSON list of lists, without white space."""
    return hashlib.sha256(json.dumps(list(prompts), separators=(",", ":")).encode()).hexdigest()

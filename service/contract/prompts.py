"""A raw prompt to go on from, on OpenAI's older wire of `/v1/completions`. Knows nothing of messages."""

from typing import Any

from pydantic import Field, field_validator

from service.contract.base import example
from service.contract.sampling import Sampling

MAX_PROMPTS = 16
"""Prompts of one request, at most; each is a place in the engine's queue."""

MAX_TOKENS = 1_000_000
"""Token ids of one request, at most."""


class PromptRequest(Sampling):
    """`POST /v1/completions`: text, token ids, or several of either."""

    model_config = example(model="smollm2-135m-instruct", prompt="The ferry leaves", max_tokens=16)

    prompt: Any
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = None

    @field_validator("prompt")
    @classmethod
    def _can_be_read(cls, prompt: Any) -> Any:
        several = [prompt] if isinstance(prompt, str) or _is_tokens(prompt) else prompt
        if not isinstance(several, list) or not 0 < len(several) <= MAX_PROMPTS:
            raise ValueError(f"send text, token ids, or a list of 1 to {MAX_PROMPTS} of either")
        if not (all(isinstance(p, str) and p for p in several) or all(_is_tokens(p) for p in several)):
            raise ValueError("every prompt is text, or every prompt is a list of token ids; none is empty")
        if sum(len(p) for p in several if isinstance(p, list)) > MAX_TOKENS:
            raise ValueError(f"at most {MAX_TOKENS} token ids in one request")
        return prompt

    @property
    def choices(self) -> int:
        alone = isinstance(self.prompt, str) or isinstance(self.prompt[0], int)
        return (1 if alone else len(self.prompt)) * (self.n or 1)


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 2**31 for token in value
        )
    )

"""What every request for an answer may say of how it is sampled, on OpenAI's wire, and what is not served.

Owns the parameters that a chat and a raw prompt share. Knows nothing of messages, prompts or assistants.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from service.contract.base import Wire

HARMLESS = {
    "user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "verbosity", "reasoning_effort",
}  # fmt: skip
"""OpenAI's parameters that change nothing here: accepted, and not sent to the engine."""

UNSERVED = {
    "audio": "Answers are text; sound is not made here.",
    "functions": "Send 'tools' instead, of which these are the older form.",
    "function_call": "Send 'tool_choice' instead, of which this is the older form.",
    "moderation": "Nothing is moderated here.",
    "prediction": "Predicted outputs are not served.",
    "web_search_options": "Nothing leaves this machine, so nothing is searched on the web.",
    "suffix": "Only what follows a prompt is written, not what stands between two texts.",
    "best_of": "Ask for several answers with 'n' and choose among them.",
}
"""OpenAI's parameters that cannot be served, and what to do instead."""

ENGINES = {
    "top_k", "min_p", "repetition_penalty", "stop_token_ids", "include_stop_str_in_output", "ignore_eos",
    "min_tokens", "skip_special_tokens", "spaces_between_special_tokens", "allowed_token_ids", "bad_words",
    "truncate_prompt_tokens",
}  # fmt: skip
"""Parameters of the engine beyond OpenAI's that a caller may set: they shape this one answer and nothing else."""

MAX_CHOICES = 8
"""Answers to one request, at most: the engine itself would try thousands."""

_ASIDE = HARMLESS | {
    "model", "messages", "prompt", "stream", "stream_options", "store", "metadata", "modalities", "echo",
}  # fmt: skip

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda share: share or 1e-6)]
"""Of what is likely, the part to draw from. At OpenAI it may be 0, the likeliest token alone; the engine takes no 0."""


def as_list(value: Any) -> Any:
    """OpenAI takes one text where it takes several."""
    return [value] if isinstance(value, str) else value


class Sampling(Wire):
    model: str = Field(min_length=1, max_length=200)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: Share | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, max_length=1024
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Annotated[list[Text], BeforeValidator(as_list)] | None = Field(default=None, max_length=4)
    store: bool | None = None
    """OpenAI's switch: `false` keeps this completion out of the record. Default: recorded."""
    metadata: dict[str, str] | None = None
    """OpenAI's metadata; the key `conversation` links the completion to a conversation of ours."""

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        return check_metadata(metadata)

    @property
    def choices(self) -> int:
        """How many answers were asked for."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of figures."""
        return bool((self.stream_options or {}).get("include_usage"))

    def sampling(self) -> dict[str, Any]:
        """What shapes the answer besides the prompt and the model, as the engine gets it and as it is recorded."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_ASIDE)


def check_metadata(metadata: dict[str, str] | None) -> dict[str, str] | None:
    """OpenAI's limits: 16 pairs, keys of 64 characters, values of 512."""
    if metadata and (len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items())):
        raise ValueError(
            "metadata holds at most 16 pairs, with keys of 64 and values of 512 characters at most"
        )
    return metadata

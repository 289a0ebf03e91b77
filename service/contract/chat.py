"""Messages and the chat request, on OpenAI's wire.

Owns what a chat request may hold and what it must not. Knows nothing of assistants or adapters.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from service.contract.base import Wire

Role = Literal["system", "developer", "user", "assistant", "tool"]

REFUSED = {
    # Fields of the engine that would let a caller change the template, the queue or another's cache.
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
    "kv_transfer_params",
    "priority",
    "request_id",
    "vllm_xargs",
    "cache_salt",
    "continue_final_message",
    "add_generation_prompt",
    "echo",
    "prompt_logprobs",
    "return_token_ids",
    "documents",
}
"""Request fields the gateway refuses with a 400 rather than pass to the engine."""


class Message(Wire):
    role: Role
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The message as plain text: parts of type `text` are joined, others are refused earlier."""
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""

    @model_validator(mode="after")
    def _only_text(self) -> "Message":
        if isinstance(self.content, list):
            for part in self.content:
                if part.get("type") != "text":
                    raise ValueError("only parts of type 'text' are served; send the text itself")
        if self.role in ("system", "developer", "user") and not self.text().strip():
            raise ValueError(f"a message of role '{self.role}' needs content")
        return self


class ChatRequest(Wire):
    """`POST /v1/chat/completions`. Fields not named here are passed on to the engine."""

    model: str = Field(min_length=1, max_length=200)
    messages: list[Message] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = Field(default=None, ge=1, le=8)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    store: bool | None = None
    """OpenAI's switch: `false` keeps this completion out of the record. Default: recorded."""
    metadata: dict[str, str] | None = None
    """OpenAI's metadata; the key `conversation` links the completion to a conversation of ours."""
    user: str | None = None

    def sampling(self) -> dict[str, Any]:
        """What shapes the answer besides messages and model, as it will be recorded."""
        aside = {"model", "messages", "stream", "stream_options", "store", "metadata", "user"}
        return self.model_dump(exclude_none=True, exclude=aside)

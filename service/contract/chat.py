"""Messages and the chat request, on OpenAI's wire.

Owns what a chat request may hold and what it must not. Knows nothing of assistants or adapters.
"""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from service.contract.base import Wire, example
from service.contract.sampling import Sampling
from service.contract.tools import ResponseFormat, Tool, check_tool_choice, check_tools

Role = Literal["system", "developer", "user", "assistant", "tool"]


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    """A message's content as plain text."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return content or ""


class Message(Wire):
    role: Role
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The message as plain text: parts of type `text` are joined, others are refused earlier."""
        return text_of(self.content)

    @model_validator(mode="after")
    def _only_text(self) -> "Message":
        if isinstance(self.content, list):
            for part in self.content:
                if (kind := part.get("type")) != "text":
                    raise ValueError(f"parts of type '{kind}' are not served, only text; send 'text'")
        if self.role in ("system", "developer", "user") and not self.text().strip():
            raise ValueError(f"a message of role '{self.role}' needs content")
        return self


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`. A field that is named neither here nor in `sampling` is refused."""

    model_config = example(
        model="fanal", messages=[{"role": "user", "content": "When does the ferry leave?"}]
    )

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[Tool] | None = Field(default=None, min_length=1, max_length=128)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None

    @field_validator("messages", mode="before")
    @classmethod
    def _with_something_to_say(cls, messages: Any) -> Any:
        """A system message without a word, as a template sends it whose text was left out, counts as left out."""
        if not isinstance(messages, list):
            return messages
        silent = [{"role": role, "content": ""} for role in ("system", "developer")]
        return [message for message in messages if message not in silent]

    @field_validator("messages")
    @classmethod
    def _to_a_call(cls, messages: list[Message]) -> list[Message]:
        for at, message in enumerate(messages):
            if message.role == "tool" and not (message.model_extra or {}).get("tool_call_id"):
                raise ValueError(
                    f"message {at} of role 'tool' names no call that it answers; send its 'tool_call_id'"
                )
        return messages

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and info.data.get("max_tokens") is not None:
            raise ValueError("'max_tokens' is its older name; send one of the two")
        return limit

    @field_validator("top_logprobs")
    @classmethod
    def _with_logprobs(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top is not None and not info.data.get("logprobs"):
            raise ValueError("'top_logprobs' needs 'logprobs': true")
        return top

    @field_validator("tools")
    @classmethod
    def _small_together(cls, tools: list[Tool] | None) -> list[Tool] | None:
        return check_tools(tools)

    @field_validator("tool_choice")
    @classmethod
    def _one_of_the_tools(cls, choice: Any, info: ValidationInfo) -> Any:
        return check_tool_choice(choice, info.data.get("tools"))

    @field_validator("modalities")
    @classmethod
    def _text_only(cls, modalities: list[str] | None) -> list[str] | None:
        if modalities not in (None, ["text"]):
            raise ValueError("answers are text; send ['text'] or leave it out")
        return modalities

"""The request of a response, on OpenAI's wire: what is served, and what is refused with its reason.

Owns the shapes of input items, tools and text formats. Knows nothing of chat completions.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from service.contract.base import Strict, Wire, example
from service.contract.sampling import Share

Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]

NAME = r"^[a-zA-Z0-9_-]{1,64}$"

PARTS = {"input_text", "output_text"}
"""Parts of content that are text."""


class Item(Wire):
    """One input item: a message, a call of a function by the model, or what the function gave."""

    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[dict[str, Any]] | None = None
    call_id: str | None = Field(default=None, min_length=1, max_length=200)
    name: str | None = Field(default=None, min_length=1, max_length=200)
    arguments: str | None = None
    output: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """Its content or output as plain text."""
        value = self.output if self.type == "function_call_output" else self.content
        if isinstance(value, list):
            return "".join(part["text"] for part in value)
        return value or ""

    @model_validator(mode="after")
    def _can_be_read(self) -> "Item":
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
        }.get(self.type)
        if needed is None:
            raise ValueError(
                f"items of type '{self.type[:40]}' are not served; "
                "send 'message', 'function_call' or 'function_call_output'"
            )
        for field in needed:
            if getattr(self, field) is None:
                raise ValueError(f"an item of type '{self.type}' needs '{field}'")
        for value in (self.content, self.output):
            _only_text(value)
        if self.type == "message" and self.role != "assistant" and not self.text().strip():
            raise ValueError(f"a message of role '{self.role}' needs content")
        return self


class FunctionTool(Strict):
    """A function of the caller's that the model may call; the flat shape of this API."""

    type: Literal["function"]
    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = True
    """Bound to its schema unless told otherwise: OpenAI's default here, though not in chat."""

    @model_validator(mode="before")
    @classmethod
    def _only_functions(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "function":
            raise ValueError(
                f"tools of type '{kind[:40]}' are not served here; send tools of type 'function'"
            )
        return value


class TextFormat(Strict):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = Field(default=None, pattern=NAME)
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    description: str | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _a_schema_is_named(self) -> "TextFormat":
        if self.type == "json_schema" and (self.schema_ is None or self.name is None):
            raise ValueError("a format of type 'json_schema' needs 'name' and 'schema'")
        return self


class Text(Strict):
    format: TextFormat = Field(default_factory=TextFormat)
    verbosity: str | None = None


class ResponseCreate(Strict):
    """`POST /v1/responses`. Fields of type `Any` are read only to be refused unless they ask for nothing."""

    model_config = example(model="fanal", input="When does the ferry leave?")

    model: str = Field(min_length=1, max_length=200)
    input: list[Item] = Field(min_length=1, max_length=1000)
    instructions: str | None = None
    previous_response_id: str | None = Field(default=None, max_length=100)
    stream: bool | None = None
    store: bool | None = None
    """`false` keeps this response out of the record: it cannot be retrieved or gone on from."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: Share | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    tools: list[FunctionTool] | None = Field(default=None, max_length=128)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    metadata: Metadata | None = Field(default=None, max_length=16)
    """The key `conversation` links the answer to a conversation of ours, as in a chat completion."""
    include: list[str] | None = None
    # Names for the caller's own use, and limits on what never happens here: accepted, and told again.
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    max_tool_calls: int | None = Field(default=None, ge=1)
    # Read to be refused unless they ask for nothing.
    background: Any = None
    context_management: Any = None
    conversation: Any = None
    moderation: Any = None
    prompt: Any = None
    prompt_cache_options: Any = None
    reasoning: Any = None
    service_tier: Any = None
    stream_options: Any = None
    top_logprobs: Any = None
    truncation: Any = None

    @model_validator(mode="before")
    @classmethod
    def _a_string_is_a_message(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("input"), str):
            return value | {"input": [{"role": "user", "content": value["input"]}]}
        return value

    @field_validator("instructions")
    @classmethod
    def _blank_is_none(cls, value: str | None) -> str | None:
        return value if value and value.strip() else None

    @field_validator("tool_choice")
    @classmethod
    def _a_choice_among_functions(cls, value: Any) -> Any:
        named = (
            isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("name"), str)
        )
        if not named and value not in (None, "none", "auto", "required"):
            raise ValueError("send 'none', 'auto', 'required' or {'type': 'function', 'name': ...}")
        return value


def _only_text(value: str | list[dict[str, Any]] | None) -> None:
    for part in value if isinstance(value, list) else ():
        kind = str(part.get("type"))[:40]
        if kind not in PARTS:
            raise ValueError(f"parts of type '{kind}' are not served, only text; send 'input_text'")
        if not isinstance(part.get("text"), str):
            raise ValueError(f"a part of type '{kind}' needs 'text'")

"""What an answer may be bound to, on OpenAI's wire: functions it may call, and the JSON it must be.

Knows nothing of messages; whether a model makes sense of its tools is the model's own matter.
"""

from typing import Any, Literal

from pydantic import Field, field_validator

from service.contract.base import Wire
from service.contract.schemas import check_schemas


class Function(Wire):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _small(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        return _checked(schema)


class Tool(Wire):
    type: str = "function"
    function: Function

    @field_validator("type")
    @classmethod
    def _a_function(cls, kind: str) -> str:
        if kind != "function":
            raise ValueError("only tools of type 'function' are served")
        return kind


class JsonSchema(Wire):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None

    @field_validator("schema_")
    @classmethod
    def _small(cls, schema: dict[str, Any]) -> dict[str, Any] | None:
        return _checked(schema)


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(default=None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _with_its_type(cls, schema: JsonSchema | None, info: Any) -> JsonSchema | None:
        if info.data.get("type") == "json_schema" and schema is None:
            raise ValueError("a response_format of type 'json_schema' needs 'json_schema'")
        return schema


def check_tool_choice(choice: Any, tools: list[Tool] | None) -> Any:
    """`none`, `auto`, `required`, or one of the request's own functions by name. Raises `ValueError`."""
    if choice is None:
        return None
    if not tools:
        raise ValueError("'tool_choice' needs 'tools'")
    if choice in ("none", "auto", "required"):
        return choice
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or choice.get("type", "function") != "function":
        raise ValueError('send "none", "auto", "required" or {"type": "function", "function": {"name": ...}}')
    if function.get("name") not in [tool.function.name for tool in tools]:
        raise ValueError("the function it names is not among 'tools'")
    return {"type": "function", "function": {"name": function["name"]}}


def check_tools(tools: list[Tool] | None) -> list[Tool] | None:
    """The functions' parameters together: all of them are compiled into one automaton. Raises `ValueError`."""
    check_schemas(tool.function.parameters for tool in tools or ())
    return tools


def _checked(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    check_schemas([schema])
    return schema

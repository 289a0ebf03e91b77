"""From the request of a response to the chat request that is asked of the engine. Pure; knows no database.

Owns what is refused: every field that asks for something that does not happen here is named in a 400;
one that asks for nothing passes.
"""

from typing import Any

from pydantic import ValidationError

from service.contract.chat import ChatRequest
from service.contract.responses import ResponseCreate
from service.domain.response_items import check_calls, to_messages
from service.errors import BadInput

NOTHING: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "moderation": (),
    "prompt": (),
    "prompt_cache_options": ({}, {"mode": "implicit"}),
    "service_tier": ("auto", "default"),
    "stream_options": ({}, {"include_obfuscation": False}),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""What these fields may hold besides null: values that ask for what happens anyway."""

ABSENT = {
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
}  # fmt: skip
"""Additions to items that never occur here: asking for them is harmless."""

NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
}
"""What a field of the chat request is called here."""

INSTEAD = {
    "background": "Leave it out and wait for the answer, or stream it.",
    "conversation": "Go on from an earlier response with 'previous_response_id'.",
    "prompt": "Send the text in 'instructions' and 'input'.",
    "service_tier": "Leave it out.",
    "truncation": "Send 'disabled' and shorten the input yourself.",
}


def refuse_unserved(wanted: ResponseCreate) -> None:
    """Raise `BadInput` for the first field that cannot be honoured."""
    for field, harmless in NOTHING.items():
        value = getattr(wanted, field)
        if value is not None and value not in harmless:
            raise _not_served(field, INSTEAD.get(field, "Leave it out."))
    refuse_include(wanted.include)
    if wanted.reasoning is not None:
        _refuse_reasoning(wanted.reasoning)
    if wanted.text is not None and wanted.text.verbosity not in (None, "medium"):
        raise _not_served("text.verbosity", "Say in 'instructions' how long the answer should be.")
    named = wanted.tool_choice["name"] if isinstance(wanted.tool_choice, dict) else None
    names = {tool.name for tool in wanted.tools or ()}
    if (wanted.tool_choice == "required" and not names) or (named is not None and named not in names):
        raise BadInput("'tool_choice' asks for a function that is not in 'tools'.", param="tool_choice")


def refuse_include(include: list[str] | None) -> None:
    for name in include or ():
        if name not in ABSENT:
            raise BadInput(
                f"'{name[:60]}' cannot be included here. Leave it out.",
                param="include",
                code="unsupported_parameter",
            )


def as_chat(wanted: ResponseCreate, context: list[dict[str, Any]]) -> ChatRequest:
    """The chat request: the instructions, the messages of the responses before this one, then its own input."""
    messages = [*context, *to_messages(wanted.input)]
    check_calls(messages)
    if wanted.instructions:
        messages.insert(0, {"role": "system", "content": wanted.instructions})
    tools = [_as_chat_tool(tool.model_dump(exclude_none=True)) for tool in wanted.tools or ()]
    fields = {
        "model": wanted.model,
        "messages": messages,
        "stream": bool(wanted.stream),
        "stream_options": {"include_usage": True} if wanted.stream else None,
        "store": wanted.store,
        "metadata": wanted.metadata,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "max_completion_tokens": wanted.max_output_tokens,
        "tools": tools or None,
        "tool_choice": _as_chat_choice(wanted.tool_choice) if tools else None,
        "parallel_tool_calls": wanted.parallel_tool_calls if tools else None,
        "response_format": _as_response_format(wanted),
    }
    try:
        return ChatRequest.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = NAMES.get(str(first["loc"][0]), str(first["loc"][0]))
        raise BadInput(f"{name}: {first['msg'].removeprefix('Value error, ')}.", param=name) from None


def _as_chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _as_chat_choice(choice: Any) -> Any:
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _as_response_format(wanted: ResponseCreate) -> dict[str, Any] | None:
    if wanted.text is None or wanted.text.format.type == "text":
        return None
    fields = wanted.text.format.model_dump(by_alias=True, exclude_none=True)
    kind = fields.pop("type")
    return {"type": kind} if kind == "json_object" else {"type": kind, "json_schema": fields}


def _refuse_reasoning(reasoning: Any) -> None:
    if not isinstance(reasoning, dict):
        raise BadInput("'reasoning' is an object.", param="reasoning")
    for name, value in reasoning.items():
        if value is not None and (name, value) != ("effort", "none"):
            raise _not_served(f"reasoning.{name}", "The models here do not reason apart; leave it out.")


def _not_served(name: str, instead: str) -> BadInput:
    return BadInput(f"'{name}' is not served here. {instead}", param=name, code="unsupported_parameter")

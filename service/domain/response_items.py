"""Items of a response and messages of a chat, each from the other. Pure; knows no database.

An item is one thing: a message, a call of a function, what the function gave. A chat's message of the
assistant holds its text and its calls together. Ids of items follow from the response's and their place,
so that a response read again has the ids it was streamed with.
"""

from collections.abc import Sequence
from typing import Any, Literal

from service.contract.chat import Message
from service.contract.responses import Item
from service.errors import BadInput

Status = Literal["in_progress", "completed", "incomplete"]


def to_messages(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Chat messages in the items' order; the assistant's text and the calls after it become one message."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if item.type == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.text()})
        elif item.type == "function_call":
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant"})
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": item.role, "content": item.text()})
    return messages


def check_calls(messages: list[dict[str, Any]]) -> None:
    """Refuse what a function gave when nothing before it called that function."""
    called: set[str] = set()
    for message in messages:
        called |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message["tool_call_id"] not in called:
            raise BadInput(
                f"No function call with call_id '{message['tool_call_id']}' comes before its output. Send the "
                "'function_call' item too, or the 'previous_response_id' of the response that made it.",
                param="input",
            )


def input_items(messages: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The messages that an answer was given to, as items."""
    items: list[dict[str, Any]] = []
    for message in messages:
        text = Message.model_validate(message).text()
        if message["role"] == "tool":
            item = {"type": "function_call_output", "call_id": message["tool_call_id"], "output": text}
            items.append({"id": f"fco_{key}_in{len(items)}", **item, "status": "completed"})
        elif message["role"] == "assistant":
            items += _of_assistant(message, f"{key}_in", len(items))
        else:
            content = [{"type": "input_text", "text": text}]
            item = {"type": "message", "role": message["role"], "status": "completed", "content": content}
            items.append({"id": f"msg_{key}_in{len(items)}", **item})
    return items


def output_items(message: dict[str, Any], key: str, *, whole: bool) -> list[dict[str, Any]]:
    """The assistant's answer as items. One that was cut short is `incomplete` in its last item."""
    items = _of_assistant(message, f"{key}_", 0)
    if not items and whole:
        items = [message_item(f"msg_{key}_0", "", "completed")]
    if items and not whole:
        items[-1]["status"] = "incomplete"
    return items


def message_item(item_id: str, text: str | None, status: Status) -> dict[str, Any]:
    """A message of the assistant; without a text it has no content yet."""
    content = [] if text is None else [text_part(text)]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: Status) -> dict[str, Any]:
    return {
        "id": item_id, "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments,
        "status": status,
    }  # fmt: skip


def _of_assistant(message: dict[str, Any], key: str, place: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if text := Message.model_validate(message).text():
        items.append(message_item(f"msg_{key}{place}", text, "completed"))
    for call in message.get("tool_calls") or ():
        item_id, function = f"fc_{key}{place + len(items)}", call["function"]
        items.append(
            call_item(
                item_id,
                call.get("id") or item_id,
                function["name"],
                function.get("arguments") or "",
                "completed",
            )
        )
    return items

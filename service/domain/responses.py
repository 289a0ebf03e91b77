"""Responses kept: each is the record of a completion, told on the newer wire. Never commits.

A response is its asker's own, whatever the role of others. What it repeats of its request stands in the
completion's column `begun`, by which it is known; everything else is rebuilt from the completion.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import Message
from service.db import tables
from service.domain import response_items, response_objects, stored
from service.domain.keys import Caller
from service.errors import BadInput, Conflict, NotFound

Messages = list[dict[str, Any]]


async def own_response(
    session: AsyncSession, caller: Caller, response_id: str, *, param: str | None = None
) -> tables.Completion:
    """The completion of a response of the caller's own. Raises `NotFound`."""
    key = response_objects.completion_id(response_id)
    found = await session.get(tables.Completion, key) if key != response_id else None
    if found is None or found.begun is None or found.deleted_at or found.user_id != caller.user_id:
        raise NotFound(
            f"No stored response '{response_id[:100]}'. Send the 'id' of a response of yours that was not made "
            "with 'store': false nor deleted.",
            param=param,
            code="previous_response_not_found" if param else None,
        )
    return found


async def context_after(session: AsyncSession, caller: Caller, response_id: str) -> Messages:
    """The messages that an answer to the next input follows: all before that response, and its own answer.

    Its instructions are left out, as at OpenAI: they held for that one response.
    """
    name = "previous_response_id"
    row = await own_response(session, caller, response_id, param=name)
    if row.status == "running":
        raise Conflict("The previous response is still being written. Go on when it has ended.", param=name)
    if row.status != "complete":
        raise BadInput(
            "The previous response was broken off. Ask it again, or go on from an earlier one.", param=name
        )
    said = {
        key: value
        for key, value in _message(row).items()
        if key in ("role", "content", "tool_calls") and value
    }
    return [*asked_messages(row), *([said] if len(said) > 1 else [])]


def asked_messages(row: tables.Completion) -> Messages:
    """What was asked, without the instructions of the request and of the assistant."""
    assert row.begun is not None
    messages: Messages = list(row.messages)
    if row.begun["instructions"]:
        return messages[1:]
    if row.instructions:
        # The caller's own first system message was joined to the assistant's instructions.
        joined = Message.model_validate(messages[0]).text()
        own = joined.removeprefix(row.instructions.strip()).strip()
        return [*([{"role": "system", "content": own}] if own else []), *messages[1:]]
    return messages


def shown(row: tables.Completion) -> dict[str, Any]:
    """The response as it stands now."""
    assert row.begun is not None
    echo = row.begun | {"metadata": row.metadata_}
    response = response_objects.begun(row.id, echo, row.sampling)
    if row.status == "running":
        return response
    if row.status == "complete":
        return response_objects.ended(response, _answer(row), int(row.ended_at or row.created_at))
    output = response_items.output_items(_message(row), response_objects.key_of(response), whole=False)
    if row.status == "failed":
        return response_objects.broken(response, output)
    return response | {"status": "cancelled", "output": output}


def input_items(row: tables.Completion) -> list[dict[str, Any]]:
    """All items that the answer was given to, those of earlier responses first."""
    key = response_objects.key_of({"id": response_objects.response_id(row.id)})
    return response_items.input_items(asked_messages(row), key)


async def remove(session: AsyncSession, caller: Caller, response_id: str) -> None:
    """Delete a response as a stored completion is deleted: erased, unless feedback leads back to it."""
    row = await own_response(session, caller, response_id)
    if row.status == "running":
        raise Conflict("The response is still being written. Delete it when it has ended.")
    await stored.erase(session, row)


def _answer(row: tables.Completion) -> dict[str, Any]:
    if row.response and row.response.get("choices"):
        return row.response
    message = {"role": "assistant", "content": row.output}
    figures = {"prompt_tokens": row.prompt_tokens, "completion_tokens": row.completion_tokens}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": row.finish_reason}],
        "usage": figures if row.completion_tokens is not None else None,
    }


def _message(row: tables.Completion) -> dict[str, Any]:
    return {"role": "assistant"} | _answer(row)["choices"][0]["message"]

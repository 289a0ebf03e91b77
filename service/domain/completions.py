"""The record of an answer: what produced it, exactly, and how it ended. Never commits.

A completion is written as `running` while the engine reads the question, and ended once: `complete`,
`interrupted` (the reader left, or the service was stopped) or `failed`. After that it never changes.
"""

import time
from typing import Any, Protocol, cast

from sqlalchemy import Executable, Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.domain import prompts, response_objects
from service.domain.chat import Route
from service.domain.endings import Ending
from service.domain.keys import Caller
from service.errors import NotFound

DUEL = "duel"
"""The channel of an answer that was given in a duel."""

# Every answer is written twice. Made once, and past the unit of work: nobody needs these rows as objects.
_TABLE = cast(Table, tables.Completion.__table__)
_BEGIN = insert(_TABLE)
_SO_FAR = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("running_id"), _TABLE.c.status == "running")
    .values(output=bindparam("so_far"))
)
_END = update(_TABLE).where(_TABLE.c.id == bindparam("ended_id"), _TABLE.c.status == "running")


class Writes(Protocol):
    """A transaction, or a `GroupCommit`."""

    async def execute(self, statement: Executable, parameters: dict[str, Any], /) -> Any: ...


async def begin(
    writes: Writes, caller: Caller, route: Route, body: dict[str, Any], *,
    completion_id: str, request_id: str, engine: str, base_model: str, metadata: dict[str, str], channel: str,
    begun: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the completion as running, with everything that will have produced it."""
    aside = {"messages", "prompt", "model", "request_id", "cache_salt"}
    await writes.execute(
        _BEGIN,
        {
            "id": completion_id, "user_id": caller.user_id, "key_id": caller.key_id,
            "conversation_id": metadata.get("conversation"), "channel": channel, "request_id": request_id,
            "requested_model": route.requested, "assistant": route.assistant, "release_id": route.release_id,
            "release_number": route.release_number, "adapter": route.adapter, "base_model": base_model,
            "instructions": route.instructions, "kind": "prompt" if "prompt" in body else "chat",
            "messages": prompts.as_messages(body["prompt"]) if "prompt" in body else body["messages"],
            "metadata": metadata, "sampling": {key: value for key, value in body.items() if key not in aside},
            "engine": engine, "status": "running", "output": "", "response": None, "begun": begun,
            "finish_reason": None, "prompt_tokens": None, "completion_tokens": None, "created_at": time.time(),
            "ended_at": None,
        },
    )  # fmt: skip


async def note(writes: Writes, completion_id: str, text: str) -> None:
    """Write what a running completion says so far; an ended one is left as it is."""
    await writes.execute(_SO_FAR, {"running_id": completion_id, "so_far": text})


async def end(writes: Writes, completion_id: str, ending: Ending) -> None:
    """Write how a running completion ended; an ended one is left as it is."""
    usage = ending.usage or {}
    await writes.execute(
        _END,
        {
            "ended_id": completion_id, "status": ending.status, "output": ending.text,
            "finish_reason": ending.finish_reason, "ended_at": time.time(),
            "response": ending.response() if ending.status == "complete" else None,
            "prompt_tokens": usage.get("prompt_tokens"), "completion_tokens": usage.get("completion_tokens"),
        },
    )  # fmt: skip


async def end_abandoned(session: AsyncSession) -> int:
    """At start: what an earlier process left running was interrupted. Returns how many."""
    result = await session.execute(
        update(tables.Completion)
        .where(tables.Completion.status == "running")
        .values(status="interrupted", ended_at=time.time())
        .returning(tables.Completion.id)
    )
    return len(result.all())


async def get_visible(session: AsyncSession, caller: Caller, completion_id: str) -> tables.Completion:
    """A completion, also by the id it has as a response, of the caller's own, or any for a reviewer; none deleted."""
    completion_id = response_objects.completion_id(completion_id)
    query = select(tables.Completion).where(
        tables.Completion.id == completion_id, tables.Completion.deleted_at.is_(None)
    )
    completion = await session.scalar(query)
    if completion is None or not caller.may_see(completion.user_id):
        raise NotFound(
            f"No recorded completion '{completion_id}'. Send the 'id' of an answer that was recorded "
            "(not one asked with 'store': false).",
            param="completion_id",
        )
    return completion

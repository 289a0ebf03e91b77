"""The record of an answer: what produced it, exactly, and how it ended. Never commits.

A completion is written as `running` before the engine is asked, and ended once: `complete`,
`interrupted` (the reader left, or the service was stopped) or `failed`. After that it never changes.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.domain import conversations
from service.domain.chat import Route
from service.domain.keys import Caller
from service.errors import NotFound

GOOD_ENDS = {"stop", "length", "tool_calls", "function_call", "content_filter"}


@dataclass
class Ending:
    """How an answer ended, gathered while it streams."""

    texts: dict[int, str] = field(default_factory=dict)
    finish_reasons: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    status: str = "interrupted"

    def take(self, chunk: dict[str, Any]) -> None:
        """Add what one streamed chunk says."""
        for choice in chunk.get("choices", ()):
            index = choice.get("index", 0)
            text = (choice.get("delta") or {}).get("content")
            if text:
                self.texts[index] = self.texts.get(index, "") + text
            if choice.get("finish_reason"):
                self.finish_reasons[index] = choice["finish_reason"]
        self.usage = chunk.get("usage") or self.usage

    def ended_well(self, choices: int) -> bool:
        """Every choice was ended by the model itself, not by an abort of the engine."""
        ends = [self.finish_reasons.get(index) for index in range(choices)]
        return all(end in GOOD_ENDS for end in ends)


async def begin(
    session: AsyncSession, caller: Caller, route: Route, body: dict[str, Any], *,
    completion_id: str, request_id: str, engine: str, base_model: str, conversation_id: str | None, channel: str,
    question: str,
) -> None:  # fmt: skip
    """Write the completion as running, with everything that will have produced it."""
    aside = {"messages", "model", "request_id", "cache_salt", "stream", "stream_options"}
    if conversation_id is not None:
        await conversations.touch(session, caller, conversation_id, question)
    session.add(
        tables.Completion(
            id=completion_id, user_id=caller.user_id, key_id=caller.key_id, conversation_id=conversation_id,
            channel=channel, request_id=request_id, requested_model=route.requested, assistant=route.assistant,
            release_id=route.release_id, release_number=route.release_number, adapter=route.adapter,
            base_model=base_model, instructions=route.instructions, messages=body["messages"],
            sampling={key: value for key, value in body.items() if key not in aside}, engine=engine,
            status="running", output="", response=None, finish_reason=None, prompt_tokens=None,
            completion_tokens=None, created_at=time.time(), ended_at=None,
        )
    )  # fmt: skip


async def end(session: AsyncSession, completion_id: str, ending: Ending) -> None:
    """Write how a running completion ended; an ended one is left as it is."""
    usage = ending.usage or {}
    await session.execute(
        update(tables.Completion)
        .where(tables.Completion.id == completion_id, tables.Completion.status == "running")
        .values(
            status=ending.status, output=ending.texts.get(0, ""), response=ending.response,
            finish_reason=ending.finish_reasons.get(0), prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"), ended_at=time.time(),
        )
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
    """A completion of the caller's own, or any for a reviewer."""
    completion = await session.scalar(select(tables.Completion).where(tables.Completion.id == completion_id))
    if completion is None or not (completion.user_id == caller.user_id or caller.may("reviewer")):
        raise NotFound(
            f"No recorded completion '{completion_id}'. Send the 'id' of a chat completion that was recorded "
            "(not one asked with 'store': false).",
            param="completion_id",
        )
    return completion

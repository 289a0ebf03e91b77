"""From the `model` of a request to what will answer it. Knows no HTTP and never commits.

assistant        its live release, or the base model while it has none; for some people the one on trial
assistant@3      its release 3; assistant@0 is the base model with the assistant's instructions
ft:...           a tuned model
<base name>      the base model
"""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import ChatRequest, Message, text_of
from service.db import tables
from service.errors import NotFound

BASE = "base"
NUMBER = re.compile("[0-9]{1,9}")
"""Of a release: what Python and every database take for a number alike."""


@dataclass(frozen=True)
class Route:
    """Everything that decides an answer besides the request: fixed before its first token."""

    requested: str
    engine_model: str
    """Name in the engine: the base model's, or the adapter's digest."""
    adapter: str
    """Digest, or `base`."""
    assistant: str | None = None
    instructions: str = ""
    release_id: str | None = None
    release_number: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    share: int = 0
    """Of every hundred people, so many are answered by `staged`."""
    staged: "Route | None" = None

    def of(self, person: str) -> "Route":
        """What answers this person: the release on trial for some, always the same people for one release.

        Whoever it answers at one share it answers at any greater one.
        """
        if self.staged is None or _place(f"{self.staged.release_id}:{person}") >= self.share:
            return self
        return self.staged

    @property
    def release(self) -> str:
        """For the header `x-tailorbird-release`."""
        if self.assistant is None:
            return "none"
        return f"{self.assistant}@{self.release_number}" if self.release_number else f"{self.assistant}@base"


async def resolve(session: AsyncSession, model: str, *, base_name: str) -> Route:
    """The route of a request for `model`. Raises `NotFound` with OpenAI's code `model_not_found`."""
    if model == base_name:
        return Route(model, base_name, BASE)
    if model.startswith("ft:"):
        adapter = await session.scalar(
            select(tables.Adapter.digest).where(
                tables.Adapter.model == model, tables.Adapter.deleted_at.is_(None)
            )
        )
        if adapter is None:
            raise model_not_found(model)
        return Route(model, adapter, adapter)
    name, at, number = model.partition("@")
    assistant = await session.scalar(select(tables.Assistant).where(tables.Assistant.name == name))
    if assistant is None or (at and not NUMBER.fullmatch(number)):
        raise model_not_found(model)
    if at:
        return await _of_assistant(session, model, assistant, int(number), base_name)
    live = await _of_assistant(session, model, assistant, None, base_name)
    staged = await session.get(tables.Release, assistant.staged_release_id or "")
    if staged is None:
        return live
    return replace(live, share=assistant.staged_share, staged=_route(model, assistant, staged, base_name))


async def _of_assistant(
    session: AsyncSession, model: str, assistant: tables.Assistant, number: int | None, base_name: str
) -> Route:
    if number is None:
        query = select(tables.Release).where(tables.Release.id == assistant.live_release_id)
    else:
        query = (
            select(tables.Release)
            .join(tables.Adapter, tables.Adapter.digest == tables.Release.adapter)
            .where(
                tables.Release.assistant == assistant.name,
                tables.Release.number == number,
                tables.Adapter.deleted_at.is_(None),
            )
        )
    release = await session.scalar(query)
    if release is None and (number or (number is None and assistant.live_release_id)):
        raise model_not_found(model)
    return _route(model, assistant, release, base_name)


def _route(model: str, assistant: tables.Assistant, release: tables.Release | None, base_name: str) -> Route:
    return Route(
        requested=model, engine_model=release.adapter if release else base_name,
        adapter=release.adapter if release else BASE, assistant=assistant.name,
        instructions=assistant.instructions, release_id=release.id if release else None,
        release_number=release.number if release else None, temperature=assistant.temperature,
        max_tokens=assistant.max_tokens,
    )  # fmt: skip


def _place(person: str) -> int:
    """Where in a row of a hundred places this person stands."""
    return int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) % 100


def messages_as_sent(route: Route, messages: list[Message]) -> list[dict[str, Any]]:
    """The messages with the assistant's instructions first; the caller's own system message follows them."""
    sent = [_as_sent(message) for message in messages]
    if route.instructions:
        first = sent[0] if sent[0]["role"] == "system" else None
        own = messages[0].text() if first else ""
        system = {"role": "system", "content": f"{route.instructions}\n\n{own}".strip()}
        sent = [system, *(sent[1:] if first else sent)]
    return sent


def _as_sent(message: Message) -> dict[str, Any]:
    """No open model was trained on `developer`, and few templates can write a message without content."""
    sent = {"content": ""} | message.model_dump(exclude_none=True)
    return sent | {"role": "system"} if message.role == "developer" else sent


def body_for_engine(route: Route, request: ChatRequest, *, request_id: str, salt: str) -> dict[str, Any]:
    """The request as the engine gets it. The completion's id will be `chatcmpl-<request_id>`."""
    body = request.sampling()
    if route.temperature is not None:
        body.setdefault("temperature", route.temperature)
    if route.max_tokens is not None and request.max_tokens is None and request.max_completion_tokens is None:
        body["max_tokens"] = route.max_tokens
    body |= {
        "model": route.engine_model,
        "messages": messages_as_sent(route, request.messages),
        "request_id": request_id,
        "cache_salt": salt,
    }
    return body


def with_whole_texts(body: dict[str, Any]) -> dict[str, Any]:
    """The same with parts of a message as one text, which is what the trainer reads: the engine would put a line's end
    between them. The record keeps them as they came."""
    said = body.get("messages", [])
    if not any(isinstance(one["content"], list) for one in said):
        return body
    return body | {"messages": [one | {"content": text_of(one["content"])} for one in said]}


def model_not_found(model: str) -> NotFound:
    return NotFound(
        f"The model '{model}' does not exist here. GET /v1/models lists what does.",
        param="model",
        code="model_not_found",
    )

"""Recorded chat completions, shown again to who asked for them, noted on and deleted. Never commits.

A completion that ended whole is a stored one, unless it was asked with `"store": false` or as a response
of `/v1/responses`, which has its own address. Deleting erases what was said and what was answered; where
feedback leads back to the completion, question and answer stay for it, out of everybody's lists.
"""

from typing import Any

from sqlalchemy import Select, String, and_, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.chat import text_of
from service.contract.stored import StoredMessage
from service.db import tables
from service.domain import feedback
from service.domain.completions import DUEL
from service.domain.identity import now
from service.domain.keys import Caller
from service.domain.paging import has_metadata, strange
from service.errors import NotFound

SHOWN = (
    "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "tools", "tool_choice",
    "response_format",
)  # fmt: skip
"""Parameters of the request that stand in a stored completion, as at OpenAI."""

Row = tables.Completion


async def list_stored(
    session: AsyncSession, caller: Caller, *,
    model: str | None, metadata: dict[str, str], order: str, after: str | None, limit: int,
) -> tuple[list[Row], bool]:  # fmt: skip
    """A page of the caller's own, by time, and whether more follow. Raises `BadInput` for a strange cursor."""
    query = _all_stored().where(Row.user_id == caller.user_id)
    if model is not None:
        query = query.where(Row.requested_model == model)
    query = query.where(*has_metadata(Row.metadata_, metadata))
    if after is not None:
        query = query.where(_behind(await _cursor(session, caller, after), order))
    ordered = (Row.created_at, Row.id) if order == "asc" else (Row.created_at.desc(), Row.id.desc())
    rows = list(await session.scalars(query.order_by(*ordered).limit(limit + 1)))
    return rows[:limit], len(rows) > limit


async def get_stored(session: AsyncSession, caller: Caller, completion_id: str) -> Row:
    """One of the caller's own, or any for a reviewer."""
    row = await session.scalar(_all_stored().where(Row.id == completion_id))
    if row is None or not caller.may_see(row.user_id):
        raise _not_found(completion_id)
    return row


async def own_stored(session: AsyncSession, caller: Caller, completion_id: str) -> Row:
    """The caller's own; another's is not found, whatever the caller's role."""
    row = await get_stored(session, caller, completion_id)
    if row.user_id != caller.user_id:
        raise _not_found(completion_id)
    return row


async def note(
    session: AsyncSession, caller: Caller, completion_id: str, metadata: dict[str, str] | None
) -> Row:
    """Replace the caller's notes on it."""
    row = await own_stored(session, caller, completion_id)
    row.metadata_ = metadata or {}
    return row


async def delete(session: AsyncSession, caller: Caller, completion_id: str) -> None:
    """Out of the list and, unless feedback leads back to it, erased: who asked which model when, and how
    many tokens it took, is all that stays."""
    await erase(session, await own_stored(session, caller, completion_id))


async def erase(session: AsyncSession, row: Row) -> None:
    """Deleted, also as a response; what feedback or an agreed verdict leads back to stays for it."""
    row.deleted_at, row.response, row.begun, row.metadata_ = now(), None, None, {}
    said = select(tables.Feedback.id).where(
        or_(tables.Feedback.completion_id == row.id, tables.Feedback.preferred_completion_id == row.id)
    )
    golden = select(tables.GoldenItem.completion_id).where(tables.GoldenItem.completion_id == row.id)
    if not await session.scalar(select(or_(said.exists(), golden.exists()))):
        row.messages, row.output, row.sampling = [], "", {}
    await feedback.sort_again(session, [row.id])


def shown(row: Row) -> dict[str, Any]:
    """The completion as it was answered, with what was asked for and the caller's notes."""
    asked = {name: row.sampling.get(name) for name in SHOWN}
    return (row.response or _rebuilt(row)) | asked | {
        "metadata": row.metadata_, "request_id": row.request_id,
    }  # fmt: skip


def messages_of(row: Row) -> list[StoredMessage]:
    """What the caller sent: without the assistant's instructions, which stand in front of it in the record."""
    first = row.messages[0]
    own = [*row.messages]
    if row.instructions and first["role"] == "system":
        rest = first["content"].removeprefix(row.instructions.strip()).strip()
        own = [first | {"content": rest}, *own[1:]] if rest else own[1:]
    return [_message(f"{row.id}-{number}", message) for number, message in enumerate(own)]


def _message(id_: str, message: dict[str, Any]) -> StoredMessage:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return StoredMessage.model_validate(
        message | {"id": id_, "content": text_of(content) or None, "content_parts": parts}
    )


def _all_stored() -> Select[Row]:
    # A value of none may stand in a JSON column as SQL's null or as JSON's.
    asked_as_chat = or_(Row.begun.is_(None), cast(Row.begun, String) == "null")
    return select(Row).where(
        Row.kind == "chat", asked_as_chat, Row.status == "complete", Row.deleted_at.is_(None),
        Row.channel != DUEL,  # it says who answered, which nobody may read before they have chosen
    )  # fmt: skip


async def _cursor(session: AsyncSession, caller: Caller, after: str) -> Row:
    """The last item seen; one that was deleted since still marks its place."""
    row = await session.get(Row, after)
    if row is None or row.user_id != caller.user_id:
        raise strange(after)
    return row


def _behind(seen: Row, order: str) -> Any:
    at, same = Row.created_at, Row.created_at == seen.created_at
    if order == "asc":
        return or_(at > seen.created_at, and_(same, Row.id > seen.id))
    return or_(at < seen.created_at, and_(same, Row.id < seen.id))


def _rebuilt(row: Row) -> dict[str, Any]:
    """The answer of a completion that was streamed before streams were kept whole."""
    prompt, answer = row.prompt_tokens or 0, row.completion_tokens or 0
    message = {"role": "assistant", "content": row.output, "refusal": None}
    return {
        "id": row.id, "object": "chat.completion", "created": int(row.created_at), "model": row.requested_model,
        "choices": [{"index": 0, "message": message, "finish_reason": row.finish_reason, "logprobs": None}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
    }  # fmt: skip


def _not_found(completion_id: str) -> NotFound:
    return NotFound(
        f"No stored completion '{completion_id}'. One that was asked with 'store': false, is still being "
        "written, was broken off or was deleted is not stored.",
        param="completion_id",
    )

"""Batches: made, checked line by line, followed, ended. Never commits.

    validating ─► in_progress ─► finalizing ─► completed
        └► failed     ├► expired
                      └ cancelling ─► cancelled

Nothing is asked before every line was found good. Owns these moves. Knows neither how lines are checked and
asked nor where their answers lie.
"""

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import batches as contract
from service.contract.batches import ENDPOINTS, UNFINISHED, BatchCreate, BatchError
from service.contract.files import ExpiresAfter
from service.db import tables
from service.domain import chat, files, webhooks
from service.domain.batch_lines import MAX_ERRORS, Checked
from service.domain.idempotency import recent_same
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.domain.paging import newest
from service.errors import BadInput, Conflict, NotFound, TooMany

WINDOW = 86_400
MAX_UNFINISHED = 20
"""Batches of one person that have not ended."""


async def create_batch(
    session: AsyncSession, caller: Caller, wanted: BatchCreate, *, retry: bool
) -> tables.Batch:
    """A batch that waits to be checked. A retried identical request returns the batch the first one made."""
    request = wanted.model_dump(exclude_none=True)
    if retry and (same := await recent_same(session, tables.Batch, caller.user_id, request)) is not None:
        return same
    if wanted.endpoint not in ENDPOINTS:
        raise BadInput(
            f"No batches for '{wanted.endpoint[:80]}'. Use {' or '.join(ENDPOINTS)}.", param="endpoint"
        )
    await _check_file(session, caller, wanted.input_file_id)
    mine = select(func.count()).where(
        tables.Batch.user_id == caller.user_id, tables.Batch.status.in_(UNFINISHED)
    )
    if (await session.scalar(mine) or 0) >= MAX_UNFINISHED:
        raise TooMany(f"{MAX_UNFINISHED} batches of yours have not ended. Wait for one, or cancel one.")
    batch = tables.Batch(
        id=new_id("batch_"), user_id=caller.user_id, key_id=caller.key_id, request=request,
        endpoint=wanted.endpoint, input_file_id=wanted.input_file_id, status="validating", model=None, total=0,
        completed=0, failed=0, usage=None, errors=None, output_file_id=None, error_file_id=None, moments={},
        created_at=now(), expires_at=now() + WINDOW,
    )  # fmt: skip
    session.add(batch)
    await session.flush()
    return batch


async def get_batch(session: AsyncSession, caller: Caller | None, batch_id: str) -> tables.Batch:
    """A batch of the caller's own, any for a reviewer, any for the service itself (`caller` none)."""
    batch = await session.get(tables.Batch, batch_id)
    if batch is None or not (caller is None or caller.may_see(batch.user_id)):
        raise NotFound(f"No batch found with id '{batch_id}'.", param="batch_id")
    return batch


async def list_batches(
    session: AsyncSession, caller: Caller, *, after: str | None, limit: int
) -> tuple[list[tables.Batch], bool]:
    """Newest first."""
    query = select(tables.Batch)
    if not caller.may("reviewer"):
        query = query.where(tables.Batch.user_id == caller.user_id)
    return await newest(session, query, tables.Batch, after, limit)


async def unfinished(session: AsyncSession) -> dict[str, str]:
    """The status of each batch that has not ended, oldest first."""
    query = select(tables.Batch.id, tables.Batch.status).where(tables.Batch.status.in_(UNFINISHED))
    rows = await session.execute(query.order_by(tables.Batch.created_at, tables.Batch.id))
    return {batch_id: status for batch_id, status in rows}


def cancel(caller: Caller, batch: tables.Batch) -> None:
    """Ask for its end; repeating it changes nothing. Raises `Conflict` when it has ended or is about to."""
    caller.must_own(batch.user_id)
    if batch.status in ("cancelling", "cancelled"):
        return
    if batch.status not in ("validating", "in_progress"):
        raise Conflict(f"The batch cannot be cancelled any more: it is '{batch.status}'.", code="batch_ended")
    move(batch, "cancelling")


async def look_up_models(session: AsyncSession, found: Checked, *, base_name: str) -> None:
    """Add to what the reading found which models there are none of. A file may name thousands: not while others wait
    to write."""
    for model, lines in found.models.items():
        try:
            await chat.resolve(session, model, base_name=base_name)
        except NotFound as error:
            found.errors += [
                BatchError(code=error.code or "", message=error.message, param="body.model", line=line)
                for line in lines[:MAX_ERRORS]
            ]


async def begin(session: AsyncSession, batch: tables.Batch, found: Checked) -> None:
    """From what the reading found to `in_progress`, or to `failed` with every problem by its line."""
    if batch.status != "validating":
        return
    batch.total = found.total
    if found.errors:
        in_order = sorted(found.errors, key=lambda error: error.line or 0)[:MAX_ERRORS]
        batch.errors = [error.model_dump() for error in in_order]
        await end(session, batch, "failed")
        return
    batch.model = next(iter(found.models)) if len(found.models) == 1 else None
    move(batch, "in_progress")


def finalize(batch: tables.Batch) -> str:
    """Every line is answered. Returns what it ends as: cancelled, when that was asked for meanwhile."""
    if batch.status == "cancelling":
        return "cancelled"
    if batch.status == "in_progress":
        move(batch, "finalizing")
    return "completed"


async def end(session: AsyncSession, batch: tables.Batch, status: str) -> None:
    """The last move, and word of it to who wants to hear."""
    move(batch, status)
    await webhooks.tell(session, batch.user_id, f"batch.{status}", batch.id)


def move(batch: tables.Batch, status: str) -> None:
    """The next status, with its moment."""
    batch.status = status
    batch.moments = batch.moments | {f"{status}_at": now()}


async def note(
    session: AsyncSession, batch_id: str, counts: contract.RequestCounts, usage: contract.Usage
) -> None:
    """How far it is."""
    await session.execute(
        update(tables.Batch)
        .where(tables.Batch.id == batch_id)
        .values(completed=counts.completed, failed=counts.failed, usage=usage.model_dump())
    )


async def add_result(
    session: AsyncSession, batch: tables.Batch, part: str, *, sha256: str, size: int, rows: int
) -> None:
    """Its file of answers (`part` is `output`) or of all other lines (`error`), which belongs to who made it."""
    life = batch.request.get("output_expires_after")
    file = await files.add_file(
        session, user_id=batch.user_id, filename=f"{batch.id}_{part}.jsonl", purpose="batch_output",
        sha256=sha256, size=size, kind="batch_output", rows=rows,
        expires_after=ExpiresAfter.model_validate(life) if life else None,
    )  # fmt: skip
    if part == "output":
        batch.output_file_id = file.id
    else:
        batch.error_file_id = file.id


def shown(batch: tables.Batch) -> contract.Batch:
    errors = contract.Errors(data=[BatchError(**error) for error in batch.errors]) if batch.errors else None
    return contract.Batch.model_validate(
        {
            "id": batch.id, "endpoint": batch.endpoint, "model": batch.model, "errors": errors,
            "input_file_id": batch.input_file_id, "status": batch.status,
            "output_file_id": batch.output_file_id, "error_file_id": batch.error_file_id,
            "created_at": batch.created_at, "expires_at": batch.expires_at, **batch.moments,
            "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
            "usage": batch.usage, "metadata": batch.request.get("metadata"),
        }
    )  # fmt: skip


async def _check_file(session: AsyncSession, caller: Caller, file_id: str) -> None:
    try:
        file = await files.get_visible(session, caller, file_id)
    except NotFound:
        raise BadInput(
            f"No file '{file_id}'. Upload it with purpose 'batch' first.", param="input_file_id"
        ) from None
    if file.purpose != "batch":
        raise BadInput(
            f"File '{file_id}' was uploaded with purpose '{file.purpose}'. Upload it with purpose 'batch'.",
            param="input_file_id",
        )

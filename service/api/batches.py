"""`/v1/batches`: many requests in one file, answered within a day while nobody waits.

Says what is wanted and how far it is; `service.batches` asks the lines.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from service.api.deps import CallerDep, NoteDep, ReadDep, RetryDep, WriteDep
from service.api.lists import as_list
from service.contract.batches import Batch, BatchCreate
from service.domain import batches, idempotency

router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.post("")
async def create_batch(
    wanted: BatchCreate,
    request: Request,
    session: WriteDep,
    caller: CallerDep,
    retry: RetryDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Batch:
    """Begin a batch. With an `Idempotency-Key`, or when the SDK retries, a repeat gives the same batch."""
    body = await request.body()
    earlier = await idempotency.earlier_answer(session, caller.user_id, idempotency_key, body)
    if earlier is not None:
        return batches.shown(await batches.get_batch(session, caller, earlier["id"]))
    batch = await batches.create_batch(session, caller, wanted, retry=retry)
    await idempotency.remember(session, caller.user_id, idempotency_key, body, {"id": batch.id})
    return batches.shown(batch)


@router.get("")
async def list_batches(
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """Newest first."""
    found, more = await batches.list_batches(session, caller, after=after, limit=limit)
    return as_list([batches.shown(batch) for batch in found], has_more=more)


@router.get("/{batch_id}")
async def retrieve_batch(batch_id: str, session: ReadDep, caller: CallerDep) -> Batch:
    return batches.shown(await batches.get_batch(session, caller, batch_id))


@router.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Batch:
    """Stop asking; what was answered stays. `cancelling` now, `cancelled` in a moment."""
    batch = await batches.get_batch(session, caller, batch_id)
    batches.cancel(caller, batch)
    if batch.user_id != caller.user_id:
        await note("batch.cancelled", batch_id, of=batch.user_id)
    return batches.shown(batch)

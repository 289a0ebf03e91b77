"""`/api/feedback`: the same for the chat and for applications. Saved before it is confirmed."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from service.api.deps import CallerDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.feedback import Feedback, FeedbackCreate
from service.contract.learnt import LearntList
from service.contract.lineage import Lineage
from service.domain import feedback, idempotency, learnt, lineage

router = APIRouter(prefix="/api/feedback", tags=["feedback"])


@router.post("", status_code=201)
async def give_feedback(
    wanted: FeedbackCreate,
    request: Request,
    session: WriteDep,
    caller: CallerDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Feedback:
    """A rating, a correction or a preference on a completion, by its id. With an `Idempotency-Key`, once."""

    async def given() -> Feedback:
        return feedback.shown(await feedback.give(session, caller, wanted))

    body = await request.body()
    return await idempotency.once(session, caller.user_id, idempotency_key, body, given, Feedback)


@router.get("")
async def list_feedback(
    session: ReadDep,
    caller: CallerDep,
    assistant: str | None = None,
    completion_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Newest first: one's own, or everybody's for a reviewer."""
    rows = await feedback.list_feedback(
        session, caller, assistant=assistant, completion_id=completion_id, limit=limit
    )
    return as_list([feedback.shown(row) for row in rows])


@router.get("/learnt")
async def list_learnt(
    session: ReadDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> LearntList:
    """What the caller's own feedback changed: the release that learnt from it, the answer then and now."""
    return await learnt.learnt(session, caller, limit=limit)


@router.get("/{feedback_id}/lineage")
async def feedback_lineage(feedback_id: str, session: ReadDep, caller: CallerDep) -> Lineage:
    """Every dataset, job, adapter and release that used it. One's own, or anybody's for a reviewer."""
    return await lineage.of_feedback(session, caller, feedback_id)


@router.delete("/{feedback_id}")
async def retract_feedback(feedback_id: str, session: WriteDep, caller: CallerDep) -> Feedback:
    """Take it back: a new event, the old one stays in the record but counts no more."""
    return feedback.shown(await feedback.retract(session, caller, feedback_id))

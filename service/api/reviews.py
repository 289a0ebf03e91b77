"""`/api/reviews`: what waits for a verdict, verdicts, and how alike people judge. For reviewers."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from service.api.deps import HouseDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract.files import Deleted
from service.contract.reviews import Agreement, GoldenCreate, GoldenItem, Review, ReviewCreate, ReviewQueue
from service.domain import golden_items, idempotency, review_queue, reviewers, reviews

router = APIRouter(prefix="/api/reviews", tags=["reviews"])


@router.post("/next")
async def next_item(house: HouseDep, caller: ReviewerDep) -> ReviewQueue:
    """The next answer to judge, reserved for a quarter of an hour; the one reserved already, if there is one."""
    await house.sort_newest()
    async with house.database.reading() as session:
        waiting = await review_queue.waiting_for(session, caller)
    async with house.database.writing(records=True) as session:
        return await reviews.next_item(session, house.store, caller, waiting)


@router.post("", status_code=201)
async def give_review(
    wanted: ReviewCreate,
    request: Request,
    session: WriteDep,
    caller: ReviewerDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Review:
    """A verdict, and then what the others said. With an `Idempotency-Key`, once."""

    async def given() -> Review:
        (one,) = await reviews.shown(session, [await reviews.give(session, caller, wanted)])
        return one

    body = await request.body()
    return await idempotency.once(session, caller.user_id, idempotency_key, body, given, Review)


@router.get("")
async def list_reviews(
    session: ReadDep, caller: ReviewerDep, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """One's own, newest first, each with what the others said."""
    rows = await reviews.list_reviews(session, caller, limit=limit)
    return as_list(await reviews.shown(session, rows))


@router.get("/agreement")
async def retrieve_agreement(session: ReadDep, _: ReviewerDep, assistant: str | None = None) -> Agreement:
    """How alike the verdicts are: over all, by topic, by pair of people, and against what was agreed on."""
    return await reviewers.agreement(session, assistant=assistant)


@router.get("/golden")
async def list_golden(session: ReadDep, caller: ReviewerDep) -> dict[str, Any]:
    """The answers whose verdict is agreed on, as far as the caller chose or has judged them."""
    return as_list(await golden_items.list_known(session, caller))


@router.put("/golden/{completion_id}")
async def put_golden(
    completion_id: str, wanted: GoldenCreate, session: WriteDep, caller: ReviewerDep
) -> GoldenItem:
    """Agree on the verdict on an answer, after one's own. It is shown to every other reviewer, and never trains."""
    return await golden_items.shown(session, await golden_items.put(session, caller, completion_id, wanted))


@router.delete("/golden/{completion_id}")
async def remove_golden(completion_id: str, session: WriteDep, _: ReviewerDep) -> Deleted:
    await golden_items.remove(session, completion_id)
    return Deleted(id=completion_id, object="golden_item")


@router.delete("/{review_id}")
async def undo_review(review_id: str, session: WriteDep, caller: ReviewerDep) -> Review:
    """Take one's own verdict back, and the correction that came with it."""
    (undone,) = await reviews.shown(session, [await reviews.undo(session, caller, review_id)])
    return undone

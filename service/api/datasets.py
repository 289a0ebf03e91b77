"""`/api/datasets`: feedback frozen into numbered, hashed versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.deps import House, HouseDep, ReadDep, ReviewerDep
from service.api.lists import as_list
from service.contract.datasets import Dataset, DatasetCreate, Kind, SplitBy
from service.contract.lineage import Lineage
from service.domain import datasets, lineage

router = APIRouter(prefix="/api/datasets", tags=["datasets"])
LimitQuery = Annotated[int, Query(ge=1, le=1000)]


@router.post("", status_code=201)
async def freeze_dataset(wanted: DatasetCreate, house: HouseDep, caller: ReviewerDep) -> Dataset:
    """Freeze the usable feedback on an assistant; its two files can be trained on like any upload."""
    made = await draft(house, wanted.assistant, wanted.kind, wanted.split_by)
    async with house.database.writing() as session:
        return datasets.shown(await datasets.record(session, caller, made))


@router.get("")
async def list_datasets(session: ReadDep, _: ReviewerDep, assistant: str | None = None) -> dict[str, Any]:
    return as_list([datasets.shown(dataset) for dataset in await datasets.list_datasets(session, assistant)])


async def draft(house: House, assistant: str, kind: Kind, split_by: SplitBy) -> datasets.Draft:
    """Everything that takes as long as there is feedback, before the transaction that writes."""
    await house.sort_feedback(assistant)
    async with house.database.reading() as session:
        return await datasets.draft(
            session, house.store, assistant, kind, split_by=split_by, share=house.settings.person_share
        )


@router.get("/{dataset_id}")
async def retrieve_dataset(dataset_id: str, session: ReadDep, _: ReviewerDep) -> Dataset:
    return datasets.shown(await datasets.get_dataset(session, dataset_id))


@router.get("/{dataset_id}/lineage")
async def dataset_lineage(
    dataset_id: str, session: ReadDep, _: ReviewerDep, after: str | None = None, limit: LimitQuery = 100
) -> Lineage:
    """Whose feedback it holds, and every job, adapter and release that used it."""
    return await lineage.of_dataset(session, dataset_id, after=after, limit=limit)

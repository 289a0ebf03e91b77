"""`/api/datasets`: feedback frozen into numbered, hashed versions."""

from typing import Any

from fastapi import APIRouter

from service.api.deps import HouseDep, ReadDep, ReviewerDep, WriteDep
from service.api.lists import as_list
from service.contract.datasets import Dataset, DatasetCreate
from service.domain import datasets

router = APIRouter(prefix="/api/datasets", tags=["datasets"])


@router.post("", status_code=201)
async def freeze_dataset(
    wanted: DatasetCreate, session: WriteDep, house: HouseDep, caller: ReviewerDep
) -> Dataset:
    """Freeze the usable feedback on an assistant; its two files can be trained on like any upload."""
    return datasets.shown(await datasets.freeze(session, house.store, caller, wanted.assistant, wanted.kind))


@router.get("")
async def list_datasets(session: ReadDep, _: ReviewerDep, assistant: str | None = None) -> dict[str, Any]:
    return as_list([datasets.shown(dataset) for dataset in await datasets.list_datasets(session, assistant)])


@router.get("/{dataset_id}")
async def retrieve_dataset(dataset_id: str, session: ReadDep, _: ReviewerDep) -> Dataset:
    return datasets.shown(await datasets.get_dataset(session, dataset_id))

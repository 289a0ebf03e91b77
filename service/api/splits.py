"""`/api/splits`: a training file in two, rows to learn from and rows to measure by."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body

from service.api.deps import CallerDep, House, HouseDep
from service.api.looks import looking
from service.contract.files import Parts
from service.contract.imports import HELD_OUT, ROWS, IntakeSpec
from service.contract.splits import Split, SplitCreate
from service.domain import files, origins, splits
from service.errors import BadInput
from service.intake import process

router = APIRouter(prefix="/api/splits", tags=["imports"])
PATIENCE = 600.0
"""Seconds that parting a file may take while its asker waits."""


@router.post("/{file_id}")
async def split_file(
    file_id: str, house: HouseDep, caller: CallerDep, wanted: Annotated[SplitCreate | None, Body()] = None
) -> Parts:
    """Hold one row in five out, in a file of its own: whole conversations, documents, persons or questions. The file
    itself stays as it is. The same request on the same rows gets the same two files again."""
    wanted = wanted or SplitCreate()
    async with house.database.reading() as session:
        file = await files.get_visible(session, caller, file_id)
        if (known := await splits.find(session, caller, file, wanted)) is not None:
            return known
        spec = await splits.spec_of(session, house.store, file, wanted)
    split, sizes = await _parted(house, spec)
    made = [one.sha256 for one in (split.training, split.held_out) if one is not None]
    told = [await origins.told_by(house.store.file(sha256), file.kind) for sha256 in made]
    async with house.database.writing() as session:
        if (known := await splits.find(session, caller, file, wanted)) is not None:
            return known
        parts = await splits.record(session, caller, file, wanted, split, sizes)
        for one, said in zip((parts.training_file, parts.held_out_file), told, strict=True):
            await origins.keep(session, one.id, said)
        return parts


async def _parted(house: House, spec: IntakeSpec) -> tuple[Split, list[int]]:
    """What the process that reads files made of one, its parts in the store."""
    slow = BadInput("Parting the file takes too long. Part it before you upload it.", code="too_slow")
    try:
        async with house.previews, looking(house, PATIENCE, slow) as place:
            split = Split.model_validate(await process.run(place, spec))
            return split, await asyncio.to_thread(_keep, house, place, split)
    except process.Refused as refused:
        error = refused.error
        raise BadInput(error.message, param="by", code=error.code, line=error.line) from None


def _keep(house: House, place: Path, split: Split) -> list[int]:
    made = {ROWS: split.training, HELD_OUT: split.held_out}
    return [house.store.adopt(place / name, one.sha256) for name, one in made.items() if one is not None]

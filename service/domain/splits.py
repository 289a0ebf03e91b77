"""A training file in two: rows to learn from, and rows that are held out, found by each other. Never commits."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.files import Parts
from service.contract.imports import ImportPlan, IntakeSpec
from service.contract.splits import Part, Parted, Split, SplitCreate
from service.db import tables
from service.domain import files, origins, sheets
from service.domain.keys import Caller
from service.errors import BadInput
from service.storage.local import Store

Row = tables.File


async def spec_of(session: AsyncSession, store: Store, file: Row, wanted: SplitCreate) -> IntakeSpec:
    """What parting a file needs. Raises `BadInput` for one that must stay whole."""
    if file.parted is not None:
        raise BadInput(f"File '{file.id}' is held out itself.", param="file_id", code="held_out_file")
    if await origins.frozen_as(session, file):
        raise BadInput(
            f"File '{file.id}' was frozen from feedback: what is held out was chosen then.", param="file_id",
            code="frozen_file",
        )  # fmt: skip
    if wanted.column is not None and wanted.by not in ("conversation", "document", "person"):
        raise BadInput(
            "A column tells a conversation, a document or a person. Say in 'by' which.", param="by"
        )
    spec = sheets.spec_of(store, file, tokenizer=None)
    plan = ImportPlan.model_validate(
        {
            "format": spec.plan.format, "split_by": wanted.by,
            "mapping": {wanted.by: wanted.column} if wanted.column else {},
        }
    )  # fmt: skip
    return spec.model_copy(update={"task": "split", "plan": plan})


async def find(session: AsyncSession, caller: Caller, file: Row, wanted: SplitCreate) -> Parts | None:
    """The parts that the same request on the same bytes made, while both are there."""
    query = select(Row).where(Row.parted["source_sha256"].as_string() == file.sha256)
    for held_out in await session.scalars(query.order_by(Row.created_at.desc())):
        parted = Parted.model_validate(held_out.parted)
        training = await session.get(Row, parted.of)
        if training is None or training.deleted_at is not None or held_out.deleted_at is not None:
            continue
        if parted.asked == wanted and caller.may_see(held_out.user_id):
            return Parts(
                training_file=files.shown(training),
                held_out_file=files.shown(held_out),
                left_out=parted.left_out,
            )
    return None


async def record(
    session: AsyncSession, caller: Caller, file: Row, wanted: SplitCreate, split: Split, sizes: list[int]
) -> Parts:
    """Write the two parts down; `sizes` are their bytes. They live as long as the file itself may.

    Raises `BadInput` where nothing can be held out.
    """
    if split.held_out is None:
        raise BadInput(
            "All rows belong together, so that none can be held out. Split by something else, or bring more rows.",
            param="by", code="nothing_held_out",
        )  # fmt: skip
    training = await files.add_file(
        session, user_id=caller.user_id, filename=f"{Path(file.filename).stem}-train.jsonl", purpose=file.purpose,
        sha256=split.training.sha256, size=sizes[0], kind=file.kind, rows=split.training.rows,
    )  # fmt: skip
    held_out = await add_held_out(
        session, training, split, split.held_out, size=sizes[1], source_sha256=file.sha256, asked=wanted
    )
    training.expires_at = held_out.expires_at = file.expires_at
    return Parts(
        training_file=files.shown(training), held_out_file=files.shown(held_out), left_out=split.left_out
    )


async def add_held_out(
    session: AsyncSession, training: Row, split: Split, part: Part, *, size: int, source_sha256: str,
    asked: SplitCreate | None = None,
) -> Row:  # fmt: skip
    """The file of what is held out beside a training file."""
    parted = Parted(
        of=training.id, by=split.by, column=split.column, left_out=split.left_out, source_sha256=source_sha256,
        asked=asked,
    )  # fmt: skip
    return await files.add_file(
        session, user_id=training.user_id, filename=f"{Path(training.filename).stem}-held-out.jsonl",
        purpose=training.purpose, sha256=part.sha256, size=size, kind=training.kind, rows=part.rows, parted=parted,
    )  # fmt: skip

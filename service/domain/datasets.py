"""Feedback frozen into numbered, hashed versions: read in pages, written as a stream. Never commits.

First a draft, which only reads and takes as long as there are rows; then its record, a short transaction. What makes
a row is decided by `preferences`, which rows train stands in `subjects`. A conversation, or all of a person's, is
wholly in training or wholly held out, decided by a hash. Where one person gave too much, the rows that stay are
drawn by a hash too, so that the same feedback gives the same dataset.
"""

import asyncio
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any, cast

from sqlalchemy import Table, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import Dataset, Kind, SplitBy
from service.contract.signal import Signal
from service.contract.splits import Parted, split_of
from service.db import tables
from service.domain import assistants, files, material, origins, signal
from service.domain.identity import new_id, now, pseudonym
from service.domain.keys import Caller
from service.domain.preferences import row_of
from service.domain.readiness import left_out, live_adapter
from service.errors import BadInput, NotFound
from service.storage.local import Incoming, Store

PAGE = 200
"""Rows read at once."""
CHUNK = 5000
"""Records written at once."""


@dataclass
class Draft:
    """A dataset whose files lie in the store, without a record of it yet."""

    assistant: str
    kind: Kind
    split_by: SplitBy
    signal: Signal
    excluded: dict[str, int]
    members: IO[str] = field(default_factory=lambda: tempfile.TemporaryFile("w+"))
    """`<feedback id> <split>` on each line: on disk, as there may be a million."""
    people: dict[str, Counter[str]] = field(default_factory=dict)
    """By person, how many rows of each split."""
    kept: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """By split: digest, bytes and rows of its file; none for a split without rows."""
    sha256: str = ""


async def measure(session: AsyncSession, name: str, kind: Kind) -> Signal:
    """What a dataset frozen now would be worth."""
    assistant = await assistants.get_assistant(session, name)
    counts = (await signal.counts(session, name))[kind]
    return signal.measured(kind, counts, live=await live_adapter(session, assistant))


async def draft(
    session: AsyncSession, store: Store, name: str, kind: Kind, *, split_by: SplitBy, share: float
) -> Draft:
    """Write the files of a new version. `share` is the most that one person may give. Raises `BadInput` for no rows."""
    counts = (await signal.counts(session, name))[kind]
    made = Draft(name, kind, split_by, await measure(session, name, kind), left_out(counts, share))
    limit = await _limit(session, name, kind, counts, share)
    with ExitStack() as stack:
        sides = {split: stack.enter_context(store.incoming()) for split in ("train", "held_out")}
        async for page in _pages(session, name, kind):
            await _write(session, made, sides, [row for row in page if limit is None or limit.lets(row)])
        if sides["train"].lines == 0:
            raise BadInput(
                f"There is no usable feedback on '{name}' for this yet ({_said(made.excluded)}). "
                "Correct some answers in the chat, then start again.",
                code="no_data",
            )
        await asyncio.to_thread(_keep_files, made, sides)
    return made


async def record(session: AsyncSession, caller: Caller, made: Draft) -> tables.Dataset:
    """Write the draft down as the next version; the same content gives the same version again."""
    row = tables.Dataset
    mine = (row.assistant == made.assistant, row.kind == made.kind)
    same = await session.scalar(select(row).where(*mine, row.sha256 == made.sha256))
    if same is not None:
        for file_id in filter(None, (same.training_file, same.validation_file)):
            (await session.get_one(tables.File, file_id)).deleted_at = None
        return same
    number = (await session.scalar(select(func.max(row.number)).where(*mine)) or 0) + 1
    kept: dict[str, tables.File] = {}
    for split, (sha256, size, rows) in sorted(made.kept.items(), reverse=True):  # `train` first
        parted = None
        if split == "held_out":
            parted = Parted(of=kept["train"].id, by=made.split_by, source_sha256=made.sha256)
        kept[split] = await files.add_file(
            session, user_id=caller.user_id, filename=f"{made.assistant}-{made.kind}-{number}-{split}.jsonl",
            purpose="fine-tune", sha256=sha256, size=size, kind=made.kind, rows=rows, parted=parted,
        )  # fmt: skip
    held_out = kept.get("held_out")
    dataset = tables.Dataset(
        id=new_id("ds_"), assistant=made.assistant, kind=made.kind, number=number, sha256=made.sha256,
        training_file=kept["train"].id, validation_file=held_out.id if held_out else None,
        rows=kept["train"].rows, held_out=held_out.rows if held_out else 0, people=len(made.people),
        excluded=made.excluded, split_by=made.split_by, signal=made.signal.model_dump(), created_at=now(),
        created_by=caller.user_id,
    )  # fmt: skip
    session.add(dataset)
    await session.flush()
    await _record_members(session, dataset.id, made)
    return dataset


async def signal_of(session: AsyncSession, file: tables.File) -> Signal | None:
    """What the feedback was worth that a file was frozen from, also where it was brought again: its bytes, or most of
    its rows."""
    frozen = await origins.frozen_as(session, file)
    found = frozen[-1] if frozen else await origins.dataset_of(session, file)
    return Signal.model_validate(found.signal) if found is not None and found.signal is not None else None


async def get_dataset(session: AsyncSession, dataset_id: str) -> tables.Dataset:
    dataset = await session.get(tables.Dataset, dataset_id)
    if dataset is None:
        raise NotFound(f"No dataset '{dataset_id}'.")
    return dataset


async def list_datasets(session: AsyncSession, assistant: str | None) -> list[tables.Dataset]:
    query = select(tables.Dataset).order_by(tables.Dataset.created_at.desc(), tables.Dataset.number.desc())
    if assistant is not None:
        query = query.where(tables.Dataset.assistant == assistant)
    return list(await session.scalars(query))


def shown(dataset: tables.Dataset) -> Dataset:
    return Dataset.model_validate(dataset)


@dataclass(frozen=True)
class _Limit:
    """One person's rows stay up to a number of the draw."""

    user_id: str
    below: int

    def lets(self, row: Any) -> bool:
        return row.user_id != self.user_id or row.draw < self.below


async def _limit(
    session: AsyncSession, name: str, kind: Kind, counts: signal.Counts, share: float
) -> _Limit | None:
    over = counts.over_share(share)
    if over == 0 or counts.largest is None:
        return None
    user_id, rows = counts.largest
    piece = tables.Material
    query = _training(name, kind).where(piece.user_id == user_id).order_by(piece.draw)
    first_out = (await session.execute(query.offset(rows - over).limit(1))).one()
    return _Limit(user_id, first_out.draw)


def _training(name: str, kind: Kind) -> Any:
    """The rows that train, one for each subject."""
    subject, piece = tables.Subject, tables.Material
    row = (
        (piece.feedback_id == subject.first)
        & (piece.kind == subject.kind)
        & (piece.subject == subject.subject)
    )
    return (
        select(subject.first, subject.first_at, piece.user_id, piece.owner, piece.conversation, piece.draw)
        .join(piece, row)
        .where(subject.assistant == name, subject.kind == kind, subject.trains.is_(True))
    )


async def _pages(session: AsyncSession, name: str, kind: Kind) -> AsyncIterator[Sequence[Any]]:
    place = (tables.Subject.first_at, tables.Subject.first)
    query = _training(name, kind).order_by(*place).limit(PAGE)
    page = (await session.execute(query)).all()
    while page:
        yield page
        last = page[-1]
        page = (await session.execute(query.where(tuple_(*place) > (last.first_at, last.first)))).all()


async def _write(session: AsyncSession, made: Draft, sides: dict[str, Incoming], page: Sequence[Any]) -> None:
    feedback = cast(Table, tables.Feedback.__table__)
    wanted = select(feedback).where(feedback.c.id.in_([row.first for row in page]))
    events = {event.id: event for event in await session.execute(wanted)}
    ids = [id_ for e in events.values() for id_ in (e.completion_id, e.preferred_completion_id) if id_]
    answers = await material.answers_of(session, ids)
    for row in page:
        event = events[row.first]
        split = split_of(row.owner if made.split_by == "person" else row.conversation)
        other = answers.get(event.preferred_completion_id or "")
        content = row_of(made.kind, material.said_of(event), answers[event.completion_id], other)
        if made.split_by == "person":
            # What stays together is told to the trainer: callers without conversations share one by their question.
            content["tailorbird"]["conversation"] = f"all of {pseudonym(row.owner)}"
        sides[split].write_line(json.dumps(content, ensure_ascii=False).encode() + b"\n")
        made.members.write(f"{row.first} {split}\n")
        made.people.setdefault(row.user_id, Counter())[split] += 1


def _keep_files(made: Draft, sides: dict[str, Incoming]) -> None:
    """Keep what was written; the version's digest is of the training file's bytes, then the held-out file's."""
    whole = hashlib.sha256()
    for split, side in sides.items():
        side.file.seek(0)
        while chunk := side.file.read(1 << 20):
            whole.update(chunk)
        if side.lines:
            made.kept[split] = (side.keep(), side.size, side.lines)
    made.sha256 = whole.hexdigest()


async def _record_members(session: AsyncSession, dataset_id: str, made: Draft) -> None:
    made.members.seek(0)
    rows: list[dict[str, str]] = []
    for line in made.members:
        feedback_id, split = line.split()
        rows.append({"dataset_id": dataset_id, "feedback_id": feedback_id, "split": split})
        if len(rows) == CHUNK:
            await session.execute(insert(cast(Table, tables.DatasetRow.__table__)), rows)
            rows = []
    if rows:
        await session.execute(insert(cast(Table, tables.DatasetRow.__table__)), rows)
    people = [
        {"dataset_id": dataset_id, "user_id": user_id, "rows": n["train"], "held_out": n["held_out"]}
        for user_id, n in made.people.items()
    ]
    await session.execute(insert(cast(Table, tables.DatasetPerson.__table__)), people)


def _said(excluded: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in excluded.items()) or "none was given"

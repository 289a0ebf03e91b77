"""From a piece of feedback to everything that used it, and from a dataset, an adapter or a release back to people.

The way leads over rows of datasets, the files of jobs, and the adapters that other adapters went on from: those
inherit what was learned. People are pseudonyms. Never commits.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import cast

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import JobKind, JobStatus
from service.contract.lineage import (
    AdapterUse,
    DatasetUse,
    DocumentUse,
    JobUse,
    Lineage,
    PersonUse,
    ReleaseUse,
)
from service.db import tables
from service.domain import datasets, releases
from service.domain.identity import pseudonym
from service.domain.keys import Caller
from service.errors import NotFound

PEOPLE = 100
"""People that are named, those with the most rows first."""


async def of_feedback(session: AsyncSession, caller: Caller, feedback_id: str) -> Lineage:
    """What used it: the caller's own, or anybody's for a reviewer."""
    given = await session.get(tables.Feedback, feedback_id)
    if given is None or not caller.may_see(given.user_id):
        raise NotFound(f"No feedback '{feedback_id}'.")
    rows = await session.execute(
        select(tables.Dataset, tables.DatasetRow.split)
        .join(tables.DatasetRow, tables.DatasetRow.dataset_id == tables.Dataset.id)
        .where(tables.DatasetRow.feedback_id == feedback_id)
        .order_by(tables.Dataset.created_at, tables.Dataset.id)
    )
    found = {dataset: split == "train" for dataset, split in rows}
    lineage = await _onward(session, found)
    split = [int(learned) for learned in found.values()]
    lineage.people = [
        PersonUse(person=pseudonym(given.user_id), rows=sum(split), held_out=len(split) - sum(split))
    ]
    lineage.feedback = [feedback_id]
    return lineage


async def of_dataset(session: AsyncSession, dataset_id: str, *, after: str | None, limit: int) -> Lineage:
    """What used a dataset, and whose feedback it holds."""
    dataset = await datasets.get_dataset(session, dataset_id)
    return await _with_feedback(session, await _onward(session, {dataset: True}), after=after, limit=limit)


async def of_release(session: AsyncSession, release_id: str, *, after: str | None, limit: int) -> Lineage:
    """What a release was made of."""
    release = await releases.get_release(session, release_id)
    return await of_adapter(session, release.adapter, after=after, limit=limit)


async def of_adapter(session: AsyncSession, digest: str, *, after: str | None, limit: int) -> Lineage:
    """What an adapter was made of: its job's data, and that of every adapter it went on from."""
    if await session.get(tables.Adapter, digest) is None:
        raise NotFound(f"No adapter '{digest}'.")
    # One that was trained here and brought back is known by its training.
    found = sorted(await _training_jobs(session), key=lambda job: job.kind != "import")
    by_id = {job.id: job for job in found}
    made = {job.adapter: job for job in found if job.adapter is not None}
    made |= {checkpoint: by_id[job_id] for checkpoint, job_id in await _checkpoints(session)}
    chain: list[tables.Job] = []
    at: str | None = digest
    while at is not None and (job := made.get(at)) is not None and job not in chain:
        chain.append(job)
        at = job.start_adapter
    jobs = await _uses_of(session, chain)
    used = {id_: use.learned for use in jobs for id_ in use.datasets}
    query = select(tables.Dataset).where(tables.Dataset.id.in_(used)).order_by(tables.Dataset.created_at)
    adapters = {digest: False} if chain else {}
    adapters |= {job.start_adapter: True for job in chain[:-1] if job.start_adapter}
    lineage = Lineage(
        datasets=[_dataset(dataset, learned=True) for dataset in await session.scalars(query)], jobs=jobs,
        documents=await _documents(session, jobs),
        adapters=await _adapters(session, {key: (True, later) for key, later in adapters.items()}),
        releases=await _releases(session, dict.fromkeys(adapters, True)), people=[], feedback=[], more=False,
    )  # fmt: skip
    return await _with_feedback(session, lineage, after=after, limit=limit)


async def _onward(session: AsyncSession, found: dict[tables.Dataset, bool]) -> Lineage:
    """Everything that these datasets went into; the flag says whether training saw what is asked about."""
    files = {dataset.training_file for dataset in found} | {dataset.validation_file for dataset in found}
    everything = await _training_jobs(session)
    direct = [job for job in everything if {job.training_file, job.validation_file} & (files - {None})]
    learned = {dataset.training_file for dataset, in_training in found.items() if in_training}
    made: dict[str, list[str]] = defaultdict(list)
    for checkpoint, job_id in await _checkpoints(session):
        made[job_id].append(checkpoint)
    for job in everything:
        made[job.id] += [job.adapter] if job.adapter else []
    adapters: dict[str, tuple[bool, bool]] = {}
    for job in direct:
        for digest in made[job.id]:
            was = adapters.get(digest, (False, False))[0]
            adapters[digest] = (was or job.training_file in learned, False)
    jobs, growing = list(direct), True
    while growing:
        later = [job for job in everything if job.start_adapter in adapters and job not in jobs]
        for job in later:
            for digest in made[job.id]:
                adapters.setdefault(digest, (adapters[job.start_adapter or ""][0], True))
        jobs += later
        growing = bool(later)
    uses = await _uses_of(session, jobs)
    for use, job in zip(uses, jobs, strict=True):
        inherits = adapters.get(job.start_adapter or "", (False, False))[0]
        use.learned = job.training_file in learned or inherits
    return Lineage(
        datasets=[_dataset(dataset, learned=in_training) for dataset, in_training in found.items()], jobs=uses,
        documents=[],
        adapters=await _adapters(session, adapters),
        releases=await _releases(session, {digest: seen for digest, (seen, _) in adapters.items()}),
        people=[], feedback=[], more=False,
    )  # fmt: skip


async def _with_feedback(
    session: AsyncSession, lineage: Lineage, *, after: str | None, limit: int
) -> Lineage:
    ids = [dataset.id for dataset in lineage.datasets]
    person, row = tables.DatasetPerson, tables.DatasetRow
    total = func.sum(person.rows)
    counted = await session.execute(
        select(person.user_id, total, func.sum(person.held_out))
        .where(person.dataset_id.in_(ids))
        .group_by(person.user_id)
        .order_by(total.desc(), person.user_id)
        .limit(PEOPLE)
    )
    lineage.people = [
        PersonUse(person=pseudonym(user_id), rows=rows, held_out=held_out)
        for user_id, rows, held_out in counted
    ]
    query = select(row.feedback_id).where(row.dataset_id.in_(ids)).distinct()
    if after is not None:
        query = query.where(row.feedback_id > after)
    page = list(await session.scalars(query.order_by(row.feedback_id).limit(limit + 1)))
    lineage.feedback, lineage.more = page[:limit], len(page) > limit
    return lineage


async def _training_jobs(session: AsyncSession) -> list[tables.Job]:
    """All of them, oldest first: there are as many as rounds, not as feedback."""
    query = select(tables.Job).where(tables.Job.kind != "evaluation")
    return list(await session.scalars(query.order_by(tables.Job.created_at, tables.Job.id)))


async def _checkpoints(session: AsyncSession) -> list[tuple[str, str]]:
    """`(digest, job)` of those that jobs published on their way."""
    row = tables.Adapter
    query = select(row.digest, row.job_id).where(row.manifest["step"].as_integer().is_not(None))
    return [(digest, job_id) for digest, job_id in await session.execute(query)]


async def _uses_of(session: AsyncSession, jobs: Iterable[tables.Job]) -> list[JobUse]:
    jobs = list(jobs)
    files = {file for job in jobs for file in (job.training_file, job.validation_file) if file}
    row = tables.Dataset
    query = select(row.id, row.training_file, row.validation_file).where(
        or_(row.training_file.in_(files), row.validation_file.in_(files))
    )
    known = {file: id_ for id_, *pair in await session.execute(query) for file in pair if file}
    return [
        JobUse(
            id=job.id, kind=cast(JobKind, job.kind), status=cast(JobStatus, job.status),
            datasets=sorted({known[file] for file in (job.training_file, job.validation_file) if file in known}),
            file=None if job.training_file in known else job.training_file, start_adapter=job.start_adapter,
            adapter=job.adapter, learned=True,
        )
        for job in jobs
    ]  # fmt: skip


async def _adapters(session: AsyncSession, wanted: dict[str, tuple[bool, bool]]) -> list[AdapterUse]:
    row = tables.Adapter
    query = select(row).where(row.digest.in_(wanted)).order_by(row.created_at, row.digest)
    return [
        AdapterUse(
            digest=adapter.digest, model=adapter.model, learned=wanted[adapter.digest][0],
            inherited=wanted[adapter.digest][1], deleted=adapter.deleted_at is not None,
            cases=adapter.manifest.get("cases", 0), cases_sha256=adapter.manifest.get("cases_sha256"),
        )
        for adapter in await session.scalars(query)
    ]  # fmt: skip


async def _releases(session: AsyncSession, wanted: dict[str, bool]) -> list[ReleaseUse]:
    row, assistant = tables.Release, tables.Assistant
    query = (
        select(row, assistant.live_release_id)
        .outerjoin(assistant, assistant.name == row.assistant)
        .where(row.adapter.in_(wanted))
        .order_by(row.assistant, row.number)
    )
    return [
        ReleaseUse(
            id=release.id, assistant=release.assistant, number=release.number, adapter=release.adapter,
            live=release.id == live, learned=wanted[release.adapter],
        )
        for release, live in await session.execute(query)
    ]  # fmt: skip


async def _documents(session: AsyncSession, jobs: Iterable[JobUse]) -> list[DocumentUse]:
    """What the files of these jobs were made of, where that was documents, and who confirmed it."""
    row, files = tables.DocumentUse, {job.file for job in jobs if job.file}
    query = (
        select(row, tables.Import.file_id)
        .join(tables.Import, tables.Import.id == row.import_id)
        .where(tables.Import.file_id.in_(files))
        .order_by(row.filename, row.first_at)
    )
    return [
        DocumentUse(
            document=use.filename, sha256=use.sha256, file=file, confirmed_by=pseudonym(use.user_id), rows=use.rows,
            first_at=use.first_at, last_at=use.last_at,
        )
        for use, file in await session.execute(query)
        if file is not None
    ]  # fmt: skip


def _dataset(dataset: tables.Dataset, *, learned: bool) -> DatasetUse:
    return DatasetUse(
        id=dataset.id, assistant=dataset.assistant, kind=dataset.kind, number=dataset.number, rows=dataset.rows,
        held_out=dataset.held_out, learned=learned,
    )  # fmt: skip

"""From a piece of feedback to everything that used it, and from a dataset, an adapter or a release back to people.

The way leads over rows of datasets, the files of jobs, and the adapters that other adapters went on from: those
inherit what was learned. A file is what its bytes are: the same rows uploaded again are the same rows. Of other bytes
it is what its rows say they were made of (`origins`). People are pseudonyms. Never commits.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

from sqlalchemy import case, func, literal, or_, select, union, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

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
from service.contract.splits import Side
from service.db import tables
from service.domain import datasets, origins, releases
from service.domain.identity import pseudonym
from service.domain.keys import Caller
from service.errors import NotFound

PEOPLE = 100
"""People that are named, those with the most rows first."""
SIDES: tuple[Side, ...] = ("train", "held_out")
"""Of a dataset or a job: its training file, and its validation file."""


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
    found: dict[tables.Dataset, tuple[str, ...]] = {dataset: (split,) for dataset, split in rows}
    brought = await origins.files_with(session, [feedback_id])
    lineage = await _onward(session, found, brought)
    split = [int("train" in sides) for sides in found.values()]
    lineage.people = [
        PersonUse(person=pseudonym(given.user_id), rows=sum(split), held_out=len(split) - sum(split))
    ]
    lineage.feedback = [feedback_id]
    return lineage


async def of_dataset(session: AsyncSession, dataset_id: str, *, after: str | None, limit: int) -> Lineage:
    """What used a dataset, and whose feedback it holds."""
    dataset = await datasets.get_dataset(session, dataset_id)
    member = tables.DatasetRow
    inside = select(member.feedback_id).where(member.dataset_id == dataset_id)
    lineage = await _onward(session, {dataset: SIDES}, await origins.files_with(session, inside))
    return await _with_feedback(session, lineage, [], after=after, limit=limit)


async def of_release(session: AsyncSession, release_id: str, *, after: str | None, limit: int) -> Lineage:
    """What a release was made of."""
    release = await releases.get_release(session, release_id)
    return await of_adapter(session, release.adapter, after=after, limit=limit)


async def of_adapter(session: AsyncSession, digest: str, *, after: str | None, limit: int) -> Lineage:
    """What an adapter was made of: its job's data, and that of every adapter it went on from."""
    if await session.get(tables.Adapter, digest) is None:
        raise NotFound(f"No adapter '{digest}'.")
    chain = await _chain(session, digest)
    jobs = await _uses_of(session, chain)
    used = {id_ for use in jobs for id_ in use.datasets}
    query = select(tables.Dataset).where(tables.Dataset.id.in_(used)).order_by(tables.Dataset.created_at)
    frozen = list(await session.scalars(query))
    bytes_of = await _digests(session, [*_files(chain, ["train"]), *_files(frozen, ["train"])])
    trained = {bytes_of[file] for file in _files(chain, ["train"])}
    adapters = {digest: False} if chain else {}
    adapters |= {job.start_adapter: True for job in chain[:-1] if job.start_adapter}
    lineage = Lineage(
        datasets=[_dataset(one, learned=bytes_of[one.training_file] in trained) for one in frozen], jobs=jobs,
        documents=await _documents(session, jobs),
        adapters=await _adapters(session, {key: (True, later) for key, later in adapters.items()}),
        releases=await _releases(session, dict.fromkeys(adapters, True)), people=[], feedback=[], more=False,
    )  # fmt: skip
    return await _with_feedback(session, lineage, list(_files(chain, ["train"])), after=after, limit=limit)


async def learned_files(session: AsyncSession, digest: str) -> list[str]:
    """SHA-256 of the files that an adapter was trained on, and every adapter that it went on from: each once, as far as
    they are on record."""
    wanted = [job.training_file for job in await _chain(session, digest) if job.training_file]
    bytes_of = await _digests(session, wanted)
    return list(dict.fromkeys(bytes_of[file] for file in wanted if bytes_of[file] != file))


async def _chain(session: AsyncSession, digest: str) -> list[tables.Job]:
    """The job that made an adapter, the one that made what that went on from, and so on."""
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
    return chain


async def _onward(
    session: AsyncSession, found: dict[tables.Dataset, tuple[str, ...]], brought: list[str]
) -> Lineage:
    """Everything that these datasets, and these files that hold rows of them, went into; of each dataset, the sides
    that what is asked about stands on."""
    everything = await _training_jobs(session)
    bytes_of = await _digests(session, [*_files(everything), *_files(found), *brought])
    files = {bytes_of[file] for file in [*_files(found), *brought]}
    direct = [job for job in everything if not files.isdisjoint(bytes_of[file] for file in _files([job]))]
    asked = {bytes_of[file] for dataset, sides in found.items() for file in _files([dataset], sides)}
    asked |= {bytes_of[file] for file in brought}
    learning = {job.id for job in direct if job.training_file and bytes_of[job.training_file] in asked}
    made: dict[str, list[str]] = defaultdict(list)
    for checkpoint, job_id in await _checkpoints(session):
        made[job_id].append(checkpoint)
    for job in everything:
        made[job.id] += [job.adapter] if job.adapter else []
    adapters: dict[str, tuple[bool, bool]] = {}
    jobs: dict[tables.Job, bool] = {}
    for job in everything:  # what a job goes on from was made by an earlier one
        before = adapters.get(job.start_adapter or "")
        if before is None and job not in direct:
            continue
        jobs[job] = job.id in learning or (before is not None and before[0])
        inherits = before is not None and job.id not in learning
        for digest in made[job.id]:
            learned, only_so = adapters.get(digest, (False, True))
            adapters[digest] = (learned or jobs[job], only_so and inherits)
    uses = await _uses_of(session, jobs)
    for use, learned in zip(uses, jobs.values(), strict=True):
        use.learned = learned
    return Lineage(
        datasets=[_dataset(dataset, learned="train" in sides) for dataset, sides in found.items()], jobs=uses,
        documents=[],
        adapters=await _adapters(session, adapters),
        releases=await _releases(session, {digest: seen for digest, (seen, _) in adapters.items()}),
        people=[], feedback=[], more=False,
    )  # fmt: skip


async def _with_feedback(
    session: AsyncSession, lineage: Lineage, brought: list[str], *, after: str | None, limit: int
) -> Lineage:
    """Whose feedback it is, and a page of it: of datasets, and of files that were brought and trained on."""
    ids = [dataset.id for dataset in lineage.datasets]
    learned = [dataset.id for dataset in lineage.datasets if dataset.learned]
    row, told = tables.DatasetRow, tables.FileRow
    lineage.people = await _people(session, ids, learned, brought)
    used = or_(row.dataset_id.in_(learned), row.split == "held_out")
    frozen = select(row.feedback_id).where(row.dataset_id.in_(ids), used)
    all_of_it = union(frozen, select(told.feedback_id).where(told.file_id.in_(brought))).subquery()
    query = select(all_of_it.c.feedback_id)
    if after is not None:
        query = query.where(all_of_it.c.feedback_id > after)
    page = list(await session.scalars(query.order_by(all_of_it.c.feedback_id).limit(limit + 1)))
    lineage.feedback, lineage.more = page[:limit], len(page) > limit
    return lineage


async def _people(
    session: AsyncSession, datasets: list[str], learned: list[str], brought: list[str]
) -> list[PersonUse]:
    """Who gave the feedback of these datasets and files, and how much of it."""
    person, told, given = tables.DatasetPerson, tables.FileRow, tables.Feedback
    trains = case((person.dataset_id.in_(learned), person.rows), else_=0)
    frozen = select(person.user_id, trains.label("rows"), person.held_out).where(
        person.dataset_id.in_(datasets)
    )
    files = (
        select(given.user_id, func.count().label("rows"), literal(0).label("held_out"))
        .join(told, told.feedback_id == given.id)
        .where(told.file_id.in_(brought))
        .group_by(given.user_id)
    )
    use = union_all(frozen, files).subquery()
    rows = func.sum(use.c.rows)
    counted = await session.execute(
        select(use.c.user_id, rows, func.sum(use.c.held_out))
        .group_by(use.c.user_id)
        .order_by(rows.desc(), use.c.user_id)
        .limit(PEOPLE)
    )
    return [
        PersonUse(person=pseudonym(user_id), rows=rows, held_out=held_out)
        for user_id, rows, held_out in counted
    ]


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
    jobs, row = list(jobs), tables.Dataset
    frozen = list(await session.scalars(select(row).order_by(row.created_at, row.id)))
    bytes_of = await _digests(session, [*_files(jobs), *_files(frozen)])
    named = {file: dataset.id for dataset in frozen for file in _files([dataset])}
    alike = {bytes_of[file]: dataset for file, dataset in named.items()}
    known = {file: named.get(file) or alike.get(bytes_of[file]) for file in _files(jobs)}
    return [
        JobUse(
            id=job.id, kind=cast(JobKind, job.kind), status=cast(JobStatus, job.status),
            datasets=sorted({dataset for file in _files([job]) if (dataset := known[file])}),
            file=None if known.get(job.training_file or "") else job.training_file, start_adapter=job.start_adapter,
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
    origins = await _origins(session, set((await _digests(session, files)).values()))
    source = tables.Import
    made = source.report["sheet", "sha256"].as_string()
    query = (
        select(row, source.file_id, made)
        .join(source, source.id == row.import_id)
        .where(or_(source.file_id.in_(files), made.in_(origins), source.sha256.in_(origins)))
        .where(source.file_id.is_not(None))
        .order_by(row.filename, row.first_at)
    )
    uses: dict[tuple[str, str, str], DocumentUse] = {}
    for use, file, digest in await session.execute(query):
        once = (digest or file, use.sha256, use.user_id)  # the same drafts may be made into a file again
        if once in uses and file not in files:
            continue
        uses[once] = DocumentUse(
            document=use.filename, sha256=use.sha256, file=file, confirmed_by=pseudonym(use.user_id), rows=use.rows,
            first_at=use.first_at, last_at=use.last_at,
        )  # fmt: skip
    return list(uses.values())


async def _origins(session: AsyncSession, digests: set[str]) -> set[str]:
    """These, and those of what they were parted from, as far back as the held-out files tell."""
    part, held_out = tables.File, aliased(tables.File)
    found: set[str] = set()
    while fresh := digests - found:
        found |= fresh
        query = (
            select(held_out.parted["source_sha256"].as_string())
            .join(part, part.id == held_out.parted["of"].as_string())
            .where(or_(part.sha256.in_(fresh), held_out.sha256.in_(fresh)))
        )
        digests = set(await session.scalars(query))
    return found


async def _digests(session: AsyncSession, files: Iterable[str]) -> dict[str, str]:
    """Of each file, its bytes' digest; one without a record is known by its id alone."""
    found = {file: file for file in files}
    query = select(tables.File.id, tables.File.sha256).where(tables.File.id.in_(found))
    return found | {file: digest for file, digest in await session.execute(query)}


def _files(rows: Iterable[tables.Job | tables.Dataset], sides: Iterable[str] = SIDES) -> Iterator[str]:
    """The files that they name: to train on, and to measure by."""
    for row in rows:
        pair = zip(SIDES, (row.training_file, row.validation_file), strict=True)
        yield from (file for side, file in pair if file and side in sides)


def _dataset(dataset: tables.Dataset, *, learned: bool) -> DatasetUse:
    return DatasetUse(
        id=dataset.id, assistant=dataset.assistant, kind=dataset.kind, number=dataset.number, rows=dataset.rows,
        held_out=dataset.held_out, learned=learned,
    )  # fmt: skip

"""Training data from elsewhere: brought, looked at, read in, followed. Never commits.

    ready ─► running ─► succeeded
                ├─────► failed ─► running (another plan)
                └─────► cancelled ─► running

An import that ran when the service died is read again from its beginning: nothing of it counts before its end.
Owns these moves. Knows neither how a file is read nor any process.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import imports as contract
from service.contract.imports import ImportPlan, ImportReport, IntakeSpec, Preview
from service.contract.sheets import Touch
from service.db import tables
from service.domain import assistants, files, origins, sheets, splits
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.domain.paging import page
from service.errors import BadInput, Conflict, NotFound
from service.storage.local import Store

KEPT = 7 * 86_400
"""Seconds that the bytes of what was brought are kept; the hash and the report stay."""


@dataclass(frozen=True)
class Made:
    """What an import made: the rows to learn from and, where there are any, those that are held out."""

    report: ImportReport
    sizes: list[int]
    """Bytes of the two files, which lie in the store."""
    told: list[IO[str]]
    """What their rows say they were made of (`origins.told_by`)."""


async def create_import(
    session: AsyncSession, caller: Caller, *, filename: str, sha256: str, size: int, preview: Preview | None
) -> tables.Import:
    """A file that was brought and looked at, or that we wrote ourselves, and is not read yet."""
    made = tables.Import(
        id=new_id("import_"), user_id=caller.user_id, filename=Path(filename).name[:200] or "rows", sha256=sha256,
        bytes=size, status="ready", plan=ImportPlan().model_dump(), preview=preview.model_dump() if preview else None,
        report=None, error=None, file_id=None, created_at=now(), finished_at=None,
    )  # fmt: skip
    session.add(made)
    await session.flush()
    return made


async def get_import(session: AsyncSession, caller: Caller | None, import_id: str) -> tables.Import:
    """An import of the caller's own, any for a reviewer, any for the service itself (`caller` none)."""
    found = await session.get(tables.Import, import_id)
    if found is None or not (caller is None or caller.may_see(found.user_id)):
        raise NotFound(f"No import '{import_id}'.", param="id")
    return found


async def list_imports(
    session: AsyncSession, caller: Caller, *, after: str | None, limit: int
) -> tuple[list[tables.Import], bool]:
    """Newest first."""
    query = select(tables.Import).order_by(tables.Import.created_at.desc(), tables.Import.id.desc())
    if not caller.may("reviewer"):
        query = query.where(tables.Import.user_id == caller.user_id)
    return page(list(await session.scalars(query)), after, limit)


def spec_of(store: Store, plan: ImportPlan, *, filename: str, sha256: str) -> IntakeSpec:
    """What looking into a file needs. Raises `BadInput` when it is gone."""
    path = store.file(sha256)
    if not path.exists():
        raise BadInput(
            f"The file of this import is kept for {KEPT // 86_400} days only, and is gone. Bring it again.",
            code="file_gone",
        )
    return IntakeSpec(task="preview", path=str(path), filename=filename, sha256=sha256, plan=plan)


async def spec_of_import(
    session: AsyncSession, store: Store, found: tables.Import, *, tokenizer: str | None
) -> IntakeSpec:
    """What reading it in needs: the held-out questions and the tokenizer too."""
    plan = ImportPlan.model_validate(found.plan)
    spec = spec_of(store, plan, filename=found.filename, sha256=found.sha256)
    cases = await _cases(session, store, plan.assistant)
    return spec.model_copy(update={"task": "import", "cases": cases, "tokenizer": tokenizer})


def keep_preview(found: tables.Import, plan: ImportPlan, preview: Preview) -> None:
    """The plan that was looked at last, and what the first rows become under it."""
    if found.status not in ("running", "succeeded"):
        found.plan, found.preview = plan.model_dump(), preview.model_dump()


async def start(session: AsyncSession, caller: Caller, found: tables.Import, plan: ImportPlan) -> None:
    """Have the whole file read under this plan. Raises `Conflict` when that is under way or done."""
    caller.must_own(found.user_id)
    if found.status in ("running", "succeeded"):
        raise Conflict(
            f"The import is '{found.status}' already. Bring the file again to read it in otherwise.",
            code="import_begun",
        )
    if plan.assistant is not None:
        caller.must_be("reviewer")
        await assistants.get_assistant(session, plan.assistant)
    found.plan, found.status, found.error, found.finished_at = plan.model_dump(), "running", None, None


def cancel(caller: Caller, found: tables.Import) -> None:
    """Give it up; nothing of it is kept. Raises `Conflict` when it has ended."""
    caller.must_own(found.user_id)
    if found.status not in ("ready", "running"):
        raise Conflict(f"The import has ended already: it is '{found.status}'.")
    found.status, found.finished_at = "cancelled", now()


async def succeed(session: AsyncSession, found: tables.Import, made: Made) -> None:
    """The rows that were taken are a file from now on, with its data sheet, and one beside it of what is held out."""
    report, sizes = made.report, made.sizes
    name = f"{Path(found.filename).stem}-{report.kind}-import"
    split = report.split
    file = await files.add_file(
        session, user_id=found.user_id, filename=f"{name}.jsonl", purpose="fine-tune", sha256=report.sheet.sha256,
        size=sizes[0], kind=report.kind, rows=report.sheet.rows,
    )  # fmt: skip
    await sheets.keep(session, file.id, report.sheet)
    await origins.keep(session, file.id, made.told[0])
    if split is not None and split.held_out is not None:
        held_out = await splits.add_held_out(
            session, file, split, split.held_out, size=sizes[1], source_sha256=found.sha256
        )
        await origins.keep(session, held_out.id, made.told[1])
        found.held_out_file_id = held_out.id
    found.report, found.file_id, found.status = report.model_dump(), file.id, "succeeded"
    found.finished_at = now()


def fail(found: tables.Import, error: contract.ImportError) -> None:
    found.status, found.error, found.finished_at = "failed", error.model_dump(), now()


async def running(session: AsyncSession) -> list[str]:
    """Ids of what is to be read, oldest first."""
    query = select(tables.Import.id).where(tables.Import.status == "running")
    return list(await session.scalars(query.order_by(tables.Import.created_at, tables.Import.id)))


async def sources(session: AsyncSession) -> set[str]:
    """Digests of what was brought and must stay."""
    fresh = or_(tables.Import.status == "running", tables.Import.created_at > now() - KEPT)
    return set(await session.scalars(select(tables.Import.sha256).where(fresh).distinct()))


async def known(session: AsyncSession) -> set[str]:
    return set(await session.scalars(select(tables.Import.id)))


def shown(
    found: tables.Import, caller: Caller, progress: contract.ImportProgress | None = None
) -> contract.Import:
    """As the caller may see it: which held-out questions its rows came near to is for reviewers alone, as whoever
    knows them by name can teach to the test."""
    fields = (
        "id",
        "filename",
        "bytes",
        "status",
        "plan",
        "preview",
        "report",
        "error",
        "file_id",
        "held_out_file_id",
        "created_at",
    )
    values = {name: getattr(found, name) for name in (*fields, "finished_at")}
    one = contract.Import.model_validate({**values, "progress": progress})
    if one.report is not None and not caller.may("reviewer"):
        one.report.touched = [
            Touch(line=at.line, case=None, how=None, share=None) for at in one.report.touched
        ]
    return one


async def _cases(session: AsyncSession, store: Store, assistant: str | None) -> list[str]:
    """Files of the held-out questions that no row may come near: one assistant's, or everybody's."""
    kept = (await assistants.held_out(session, assistant)).values()
    return [str(store.file(sha256)) for sha256 in dict.fromkeys(kept)]

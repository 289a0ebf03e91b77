"""Adapters that were trained elsewhere: from files that were checked to a job that proves them. Never commits.

The same files are the same adapter. One that is served already needs no job; one that is being proved for the same
assistant gets no second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.adapters import AdapterCreate
from service.contract.jobs import ENDED
from service.db import tables
from service.domain import assistants, evaluations, jobs, releases
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.engine import server
from service.settings import Settings
from service.storage.adapters import Servable

QUESTIONS = (
    "What can you help me with?",
    "Explain in two sentences why the sky is blue.",
    "Write a short, polite reply to a customer whose parcel is late.",
    "Comment prépare-t-on une bonne réunion ?",
    "Give three reasons to keep a written record of decisions.",
    "Résume en une phrase ce qu’est un contrat.",
)
"""Asked of an adapter whose own questions are not known."""


@dataclass(frozen=True)
class Brought:
    """What became of an adapter that was brought: it is served already, or a job proves it."""

    adapter: tables.Adapter | None
    release: tables.Release | None
    job: tables.Job | None


def servable(settings: Settings) -> Servable:
    """What the engine of this service takes."""
    return Servable(Path(settings.base_folder), settings.model_name, settings.max_lora_rank, server.LINEAR)


async def bring(
    session: AsyncSession,
    caller: Caller,
    wanted: AdapterCreate,
    digest: str,
    left_out: list[str],
    *,
    base_name: str,
) -> Brought:
    """Have the adapter with this digest, whose files are kept, proved and offered. Raises `NotFound`."""
    if wanted.assistant is not None:
        await assistants.get_assistant(session, wanted.assistant)
    adapter = await session.get(tables.Adapter, digest)
    if adapter is not None and adapter.deleted_at is None:
        return Brought(adapter, await _offered(session, caller, wanted.assistant, digest), None)
    for waiting in await _unfinished(session):
        if waiting.request["adapter"] == digest and waiting.assistant == wanted.assistant:
            return Brought(None, None, waiting)
    metadata = {"metadata": {"assistant": wanted.assistant}} if wanted.assistant else {}
    job = tables.Job(
        id=new_id("ftjob-"), kind="import", status="queued", user_id=caller.user_id,
        request={**wanted.model_dump(), "adapter": digest, **metadata}, settings={}, model=base_name,
        training_file=wanted.file, assistant=wanted.assistant, attempts=0, cancel_requested=False,
        pause_requested=False, created_at=now(),
    )  # fmt: skip
    session.add(job)
    await session.flush()
    if left_out:
        await jobs.add_event(session, job.id, f"Left out of the ZIP: {', '.join(left_out)[:500]}.")
    await jobs.add_event(session, job.id, "Files checked. The job waits for its turn.", code="waiting")
    return Brought(None, None, job)


def prompts(wanted: AdapterCreate, assistant: tables.Assistant | None) -> list[list[dict[str, Any]]]:
    """The conversations an adapter is asked: the questions that were sent along, else starters and our own."""
    said = assistant.instructions if assistant else ""
    first = [{"role": "system", "content": said}] if said else []
    starters = assistant.starters if assistant else []
    questions = wanted.prompts or [*starters, *QUESTIONS][: len(QUESTIONS)]
    return [[*first, {"role": "user", "content": question}] for question in questions]


async def _offered(
    session: AsyncSession, caller: Caller, assistant: str | None, digest: str
) -> tables.Release | None:
    """Its newest release of the assistant: a new candidate, to be measured, where there is none."""
    if assistant is None:
        return None
    for release in await releases.list_releases(session, assistant):
        if release.adapter == digest:
            return release
    release = await releases.offer(session, assistant, digest, None)
    await evaluations.measure(session, release, caller.user_id)
    return release


async def _unfinished(session: AsyncSession) -> list[tables.Job]:
    query = select(tables.Job).where(tables.Job.kind == "import", tables.Job.status.not_in(ENDED))
    return list(await session.scalars(query))

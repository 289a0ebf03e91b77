"""What an operator must know: read from the records, and judged. Knows no HTTP and never commits.

Owns what counts as wrong, and its words. What the engines and the disk say comes from outside.
"""

import time
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import ENDED
from service.contract.status import AssistantStatus, JobStatus, Status, Wrong, WrongCode
from service.db import tables
from service.domain.identity import now
from service.domain.releases import list_adapters
from service.errors import FilesGone

Told = tuple[str, Wrong]
"""What is wrong, as a sentence and by its code."""
LOW_DISK = 2 << 30
"""Bytes that must be free."""
LATELY = 86_400
WAITS = 60
"""Seconds after which a job that nobody took is a sign that no worker runs."""
FAILING = 3
STATES = {
    "hung": "does not answer in time: it hangs, or the machine is overloaded",
    "gone": "does not answer: it is starting or gone",
    "starting": "answers, but has not loaded all that it should serve",
}

DISABLED = {"gone": "its receiver said it is gone (410)", "failing": "nothing came through for three days"}
"""Why a webhook was disabled by the service; one that its owner disabled is not wrong."""


async def records(session: AsyncSession) -> dict[str, Any]:
    """The fields of `Status` that stand in the database."""
    row = tables.Job
    jobs = await session.execute(select(row.status, func.count()).group_by(row.status))
    kinds = await session.execute(select(tables.Feedback.type, func.count()).group_by(tables.Feedback.type))
    under_way = await session.scalars(select(row).where(row.status.not_in(ENDED)).order_by(row.created_at))
    failed = await session.scalars(
        select(row).where(row.status == "failed", row.finished_at > now() - LATELY).order_by(row.finished_at)
    )
    hook = tables.Webhook
    disabled = await session.execute(
        select(hook.id, hook.disabled_because).where(~hook.enabled, hook.disabled_because.in_(DISABLED))
    )
    live = await session.execute(
        select(tables.Assistant.name, tables.Release.number, tables.Release.adapter)
        .outerjoin(tables.Release, tables.Release.id == tables.Assistant.live_release_id)
        .order_by(tables.Assistant.created_at)
    )
    return {
        "jobs": {status: count for status, count in jobs.all()},
        "feedback": {kind: count for kind, count in kinds.all()},
        "jobs_under_way": [_job(job) for job in under_way],
        "jobs_failed": [_job(job) for job in failed],
        "assistants": [AssistantStatus(name=n, release=r, adapter=a) for n, r, a in live.all()],
        "webhooks_disabled": {hook: why for hook, why in disabled.all()},
        "wanted": [adapter.digest for adapter in await list_adapters(session)],
    }


def judged(status: Status, logs: str) -> Status:
    """The same with all that is wrong, the most pressing first. `logs` is the folder to look into."""
    told = [
        _told(
            cast(WrongCode, f"engine_{engine.state}"),
            f"The engine at {engine.url} {STATES[engine.state]}. Its log is {logs}/engine.log.",
            url=engine.url, log=f"{logs}/engine.log",
        )
        for engine in status.engines
        if engine.state != "ready"
    ]  # fmt: skip
    if status.failed_in_a_row >= FAILING:
        said = f"The last {status.failed_in_a_row} answers failed. Look into {logs}/gateway.log."
        told.append(_told("answers_failed", said, n=status.failed_in_a_row, log=f"{logs}/gateway.log"))
    told += _missing(status)
    told += _jobs(status, logs)
    told += [
        _told(
            cast(WrongCode, f"webhook_{why}"),
            f"Webhook {hook} was disabled: {DISABLED[why]}. Open it again with PATCH /api/webhooks/{hook}.",
            id=hook,
        )
        for hook, why in status.webhooks_disabled.items()
    ]
    if status.disk_free < LOW_DISK:
        free = f"{status.disk_free / 2**30:.1f}"
        said = f"Only {free} GB are free where everything is kept. Free some space soon."
        told.append(_told("disk_low", said, free=free))
    return status.model_copy(
        update={"wrong": [said for said, _ in told], "coded": [wrong for _, wrong in told]}
    )


def _told(code: WrongCode, sentence: str, **values: str | int) -> Told:
    return sentence, Wrong(code=code, values=values)


def _missing(status: Status) -> list[Told]:
    """Adapters that should be served and are not, by engine that could."""
    live = {one.adapter: f"{one.name}@{one.release}" for one in status.assistants if one.adapter}
    told: list[Told] = []
    for digest in status.wanted:
        lacking = [e for e in status.engines if e.state == "ready" and digest not in e.adapters]
        if not (lacking or digest in status.problems):
            continue
        what = f"Adapter {digest[:12]}" + (f", the live release {live[digest]}," if digest in live else "")
        why = status.problems.get(digest)
        cause = status.causes.get(digest)
        code = "not_loaded" if not why else "files_gone" if cause == FilesGone.code else "not_served"
        code += "_live" if digest in live else ""
        values = {"adapter": digest[:12], "why": why, "cause": cause, "release": live.get(digest)}
        told.append(
            _told(
                cast(WrongCode, code), f"{what} is not served: {why or 'it has not been loaded yet'}",
                **{name: value for name, value in values.items() if value},
            )
        )  # fmt: skip
    return told


def _jobs(status: Status, logs: str) -> list[Told]:
    log = f"{logs}/worker.log"
    told = [
        _told(
            "job_failed", f"Job {job.id} ({job.kind}) failed at {_clock(job.at)}: {job.message}",
            id=job.id, kind=job.kind, at=_clock(job.at), finished_at=job.at, message=job.message,
            error=job.code or "",
        )
        for job in status.jobs_failed
    ]  # fmt: skip
    told += [
        _told(
            "job_silent", f"Job {job.id} ({job.kind}) runs no more: its worker fell silent. Look into {log}.",
            id=job.id, kind=job.kind, log=log,
        )
        for job in status.jobs_under_way
        if job.silent
    ]  # fmt: skip
    waiting = [job for job in status.jobs_under_way if job.status == "queued" and job.at < now() - WAITS]
    if waiting and not any(job.status == "running" for job in status.jobs_under_way):
        said = f"{len(waiting)} jobs wait and none runs. Is the worker running? See {log}."
        told.append(_told("jobs_wait", said, n=len(waiting), log=log))
    return told


def _job(job: tables.Job) -> JobStatus:
    silent = job.status == "running" and job.lease_until is not None and job.lease_until < time.time()
    return JobStatus(
        id=job.id, kind=job.kind, status=job.status, assistant=job.assistant, at=job.finished_at or job.created_at,
        message=str((job.error or {}).get("message", "")), code=(job.error or {}).get("code"), silent=silent,
    )  # fmt: skip


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%d %b %H:%M")

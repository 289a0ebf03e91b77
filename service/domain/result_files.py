"""The figures of a training as a file of its owner's, as OpenAI gives them: CSV, a row for each step. Never commits."""

import csv
import io
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.domain import files

COLUMNS = {
    "step": "step", "train_loss": "train_loss", "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss", "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}  # fmt: skip
"""OpenAI's names, and ours of the same figures in a job's events."""


async def written(session: AsyncSession, job_id: str) -> bytes | None:
    """What a job's file holds. None without steps."""
    steps = await steps_of(session, job_id)
    if not steps:
        return None
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([steps[step].get(ours, "") for ours in COLUMNS.values()] for step in sorted(steps))
    return text.getvalue().encode()


async def steps_of(session: AsyncSession, job_id: str) -> dict[int, dict[str, Any]]:
    """The figures of each step, by its number: of one that was made again after a break, what it gave last."""
    event = tables.JobEvent
    query = select(event.data).where(event.job_id == job_id, event.type == "metrics").order_by(event.id)
    steps: dict[int, dict[str, Any]] = {}
    for data in await session.scalars(query):
        steps.setdefault(data["step"], {}).update(data)
    return steps


async def keep(session: AsyncSession, job: tables.Job, content: bytes, sha256: str) -> None:
    """The file, whose bytes lie in the store, belongs to the job; again is harmless."""
    if job.result_file is None:
        file = await files.add_file(
            session, user_id=job.user_id, filename="step_metrics.csv", purpose="fine-tune-results", sha256=sha256,
            size=len(content), kind="results", rows=content.count(b"\n") - 1,
        )  # fmt: skip
        job.result_file = file.id


async def forget(session: AsyncSession, file_id: str) -> None:
    """A job names no file that was deleted."""
    row = tables.Job
    await session.execute(update(row).where(row.result_file == file_id).values(result_file=None))

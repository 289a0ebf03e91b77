"""Training jobs as people see them: a list, one in detail with its curves, started, paused and cancelled.

Owns how a job's events become a share done, a time left and a curve. Keeps nothing.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
from pydantic import ValidationError

from service.contract.datasets import describe
from service.contract.files import File
from service.contract.jobs import ENDED, Job, JobCreate, JobEvent, Method
from ui.client import Gateway, Refused
from ui.events import said
from ui.failures import failure
from ui.pages import render
from ui.words import Words

CURVES = {"train_loss": "curve_train", "valid_loss": "curve_held_out"}
METHODS = {"sft": "supervised", "dpo": "dpo", "kto": "kto"}
"""A method's name on the wire, by the kind of rows it learns from."""
RANKING = {"reward_accuracy": "curve_train", "valid_reward_accuracy": "curve_held_out"}


@dataclass(frozen=True)
class Stage:
    """How far a job is."""

    share: float
    step: int | None
    total: int | None
    left: str
    """Time left in words, or empty."""


async def listing(gateway: Gateway, token: str, w: Words, jobs: list[Job], here: str) -> str:
    """The list of an assistant's jobs as HTML, newest first."""
    stages = {
        job.id: _stage(w, job, await gateway.job_events(token, job.id, limit=20))
        for job in jobs
        if _moves(job)
    }
    known = await gateway.files(token, "fine-tune") if jobs else []
    names = {file.id: Path(file.filename).stem for file in known}
    return render("jobs", w, jobs=jobs, stages=stages, names=names, here=here)


async def detail(
    gateway: Gateway, token: str, w: Words, job_id: str
) -> tuple[str, pandas.DataFrame, pandas.DataFrame, str]:
    """One job: its head as HTML, the points of its loss and of its ranking, and its messages as HTML."""
    if not job_id:
        return "", points(w, [], CURVES), points(w, [], RANKING), ""
    job = await gateway.job(token, job_id)
    events = await gateway.job_events(token, job_id)
    told = [event for event in events if event.type == "message"][:40]
    why = failure(w, job.error) if job.error else None
    head = render("job", w, job=job, stage=_stage(w, job, events), moves=_moves(job), why=why)
    messages = render("messages", w, events=[(event, *said(w, event)) for event in told])
    return head, points(w, events, CURVES), points(w, events, RANKING), messages


def wanted(
    assistant: str,
    file: File,
    held_out: File | None,
    hyperparameters: dict[str, Any],
    reason: str | None = None,
) -> JobCreate:
    """A job on a file, on top of what answers now, measured on what is held out. What `hyperparameters` leaves out is
    the service's choice; `reason` is why to train on frozen feedback that a finding holds. Raises `Refused` for a
    setting that cannot stand."""
    metadata = {"assistant": assistant} | ({"override_reason": reason} if reason else {})
    name = METHODS.get(file.kind or "", "supervised")
    try:
        method = Method.model_validate({"type": name, name: {"hyperparameters": hyperparameters}})
    except ValidationError as error:
        raise Refused(400, "invalid_value", describe(error)) from None
    return JobCreate(
        model=assistant, training_file=file.id, validation_file=held_out.id if held_out else None, suffix=assistant,
        metadata=metadata, method=method,
    )  # fmt: skip


def points(w: Words, events: list[JobEvent], names: dict[str, str]) -> pandas.DataFrame:
    """Columns `step`, `value` and `kind`, oldest first, for the figures in `names`.

    A step that was made again after an interruption is one point. None before the first step: held-out rows are
    measured before it, and a plot draws no kind later that it was not begun with (gradio 6.31).
    """
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for event in reversed(events):
        for name, kind in names.items():
            if event.type == "metrics" and name in event.data and "step" in event.data:
                step = event.data["step"]
                rows[step, kind] = {"step": step, "value": float(event.data[name]), "kind": w(kind)}
    begun = any(step for step, _ in rows)
    return pandas.DataFrame(list(rows.values()) if begun else [], columns=["step", "value", "kind"])


def figures(events: list[JobEvent]) -> dict[str, tuple[float, float]]:
    """First and last of each figure that says how the learning went, up to the step whose adapter was kept."""
    found: dict[str, tuple[float, float]] = {}
    kept = next(
        (
            event.data["best"]
            for event in events
            if event.data.get("code") in ("kept_best", "kept_best_ended")
        ),
        None,
    )
    for event in reversed(events):
        for name in ("train_loss", "valid_loss", "valid_reward_accuracy"):
            if (
                name in event.data
                and event.type == "metrics"
                and (not kept or event.data.get("step", 0) <= kept)
            ):
                value = float(event.data[name])
                found[name] = (found.get(name, (value, value))[0], value)
    return found


def colours(w: Words) -> dict[str, str]:
    return {w("curve_train"): "#3d8b66", w("curve_held_out"): "#c9683b"}


def in_words(w: Words, seconds: float) -> str:
    """A length of time, roughly, as people say it."""
    if seconds < 60:
        return w("under_a_minute")
    minutes = round(seconds / 60)
    if minutes < 90:
        return w("minutes", n=minutes)
    return w("hours", n=round(minutes / 60))


def _stage(w: Words, job: Job, events: list[JobEvent]) -> Stage:
    latest = next((event.data for event in events if event.type == "metrics"), {})
    step, total = latest.get("step"), latest.get("total_steps")
    share = step / total if step and total else 0.0
    left = ""
    if _moves(job) and job.estimated_finish and step and total and step < total:
        left = in_words(w, max(0.0, job.estimated_finish - time.time()))
    return Stage(1.0 if job.status == "succeeded" else min(1.0, share), step, total, left)


def _moves(job: Job) -> bool:
    return job.status not in ENDED

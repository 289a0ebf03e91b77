"""Before a job: the look that a process of its own took at a request's rows, put together with what the service knows.

Owns how long a job may take: by the earlier jobs of the same base model and method, else by a formula whose figures and
doubts are told. Makes no job, never commits.
"""

from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.estimates import Estimate, Finding, Look, Range, Servable
from service.contract.jobs import JobCreate
from service.contract.rendering import Rendering
from service.db import tables
from service.domain import job_requests
from service.domain.job_requests import Plan
from service.engine.rendering import CODE

JOBS = 20
"""Earlier jobs that count: the newest."""
SPREAD = 1.5
"""A job may be so many times as quick as the quickest of them, or as slow as the slowest: rows differ."""
SPEED = 40e9
"""Floating-point operations a second of one core, where nothing was measured: the embedded model trained at about 150
tokens a second on two cores."""
DOUBT = 4.0
"""How far off that may be, either way: processors and models differ."""
START = (5.0, 60.0)
"""Seconds until the first step, where nothing was measured: a process starts, a model is read, rows are checked."""
HELD_OUT = 0.4
"""What a held-out token costs beside one that is learned from: it is only read."""
REPLAY_TOKENS = 75
"""Of a replayed row, about."""


@dataclass(frozen=True)
class Machine:
    """What an estimate depends on beside the request."""

    cores: int
    """That a training job may use."""
    has_gpu: bool
    max_rank: int
    layers: tuple[str, ...]
    """What the engine takes of an adapter: its highest rank, and the layers it may change, as `q_proj`."""
    processes: int = 1
    """That train a job together, on those cores."""


async def earlier(session: AsyncSession, kind: str, base_sha256: str, processes: int) -> list[float]:
    """Tokens a second of the newest published jobs of a method on this very base model, by as many processes, held-out
    rows counted in.
    """
    made = tables.Adapter
    alike = (
        made.manifest["kind"].as_string() == kind,
        made.manifest["base_sha256"].as_string() == base_sha256,
        made.manifest["step"].as_integer().is_(None),
        func.coalesce(made.manifest["processes"].as_integer(), 1) == processes,
    )
    newest = select(made.report).where(*alike).order_by(made.created_at.desc()).limit(JOBS)
    rates: list[float] = []
    for report in await session.scalars(newest):
        tokens, passes, rows = report["trained_tokens"], report["epochs"], report["rows"]
        if tokens and passes and rows and report["seconds"] > 0:
            row = tokens / passes / rows
            rates.append((tokens + _held_out_work(row, report["held_out"], passes)) / report["seconds"])
    return rates


def put_together(
    wanted: JobCreate, plan: Plan, look: Look, rendering: Rendering, rates: list[float], machine: Machine,
    held: str | None = None,
) -> Estimate:  # fmt: skip
    """The answer; `rates` are those of earlier jobs, `held` is why a start would be refused for its feedback."""
    if rendering.state == "different":
        other = Finding(code=CODE, message=rendering.because, row=rendering.row)
        look = look.model_copy(update={"findings": [*look.findings, other], "trained_as_served": False})
    if look.sampled:  # the number of rows is known here, and was reckoned there
        share, batch = plan.training.rows / look.rows, plan.settings.batch_size
        look = look.model_copy(
            update={
                "rows": plan.training.rows, "tokens": round(look.tokens * share),
                "tokens_with_loss": round(look.tokens_with_loss * share),
                "replay_reads": round(look.replay_reads * share),
                "steps": -(-plan.training.rows // batch) * plan.settings.n_epochs,
            }
        )  # fmt: skip
    servable = _servable(look, machine)
    held_out = plan.validation.rows - look.set_aside if plan.validation else 0
    method = next(name for name, kind in job_requests.KINDS.items() if kind == plan.kind)
    return Estimate(
        model=wanted.model, method=cast(Literal["supervised", "dpo", "kto"], method),
        hyperparameters=job_requests.chosen(wanted, plan.kind, plan.settings.model_dump()),
        chosen=plan.reasons, seed=plan.settings.seed, held_out=held_out, look=look, servable=servable,
        rendering=rendering,
        seconds=_seconds(plan, look, rates, held_out, machine), memory_bytes=_memory(look, machine),
        ready=not look.findings and held is None and servable.rank and servable.modules is not False, held=held,
        notes=_notes(plan, look, machine),
    )  # fmt: skip


def _servable(look: Look, machine: Machine) -> Servable:
    others = [name for name in look.shape.modules if name not in machine.layers] if look.shape else []
    return Servable(
        rank=look.rank <= machine.max_rank, max_rank=machine.max_rank,
        modules=not others if look.shape else None, not_served=others,
    )  # fmt: skip


def _seconds(plan: Plan, look: Look, rates: list[float], held_out: int, machine: Machine) -> Range:
    passes = plan.settings.n_epochs
    row = look.tokens / max(look.rows, 1)
    work = look.tokens * passes + _held_out_work(row, held_out, passes)
    work += look.replay_reads * REPLAY_TOKENS * (1 + HELD_OUT)  # the base model reads a replayed row as well
    patience = plan.settings.early_stopping_patience
    least = work * min(1.0, (patience + 1) / passes) if patience else work
    if rates:
        return Range(
            low=round(least / max(rates) / SPREAD, 1), high=round(work / min(rates) * SPREAD, 1),
            basis="earlier_jobs", jobs=len(rates),
            because=f"Earlier jobs of this method on this base model in this database ({len(rates)}) made "
            f"{min(rates):.0f} to {max(rates):.0f} tokens a second, their start included; {SPREAD:g} times as quick "
            "and as slow is allowed for. It holds as far as the machine, and what else runs on it, are as they were.",
        )  # fmt: skip
    none = "No earlier job of this method on this base model is recorded here"
    if machine.has_gpu:
        return Range(basis="none", because=f"{none}, and there is no formula for a GPU.")
    if look.shape is None:
        return Range(basis="none", because=f"{none}, and the base model's size is not known.")
    # Forward and backward are 2 operations each for a parameter and a token: the base gets no gradients of its own.
    speed = SPEED * machine.cores / (4 * look.shape.base_parameters)
    if plan.kind != "sft":
        work += look.tokens * HELD_OUT  # the reference reads every row once
    return Range(
        low=round(least / speed / DOUBT + START[0], 1), high=round(work / speed * DOUBT + START[1], 1), basis="formula",
        because=f"{none}. By a formula: 4 operations for each parameter and token, at {SPEED / 1e9:g}e9 a second on "
        f"each of {machine.cores} cores. That speed was seen on another machine and may be {DOUBT:g} times too high or "
        "too low here: a guess of the order of magnitude, no more.",
    )  # fmt: skip


def _held_out_work(row: float, held_out: int, passes: float) -> float:
    """Held-out rows are read before the first step and after each pass; as tokens that are learned from."""
    return HELD_OUT * row * held_out * (passes + 1)


def _memory(look: Look, machine: Machine) -> Range:
    if machine.has_gpu or look.memory_low is None or look.memory_high is None:
        why = (
            "There is no formula for a GPU."
            if machine.has_gpu
            else "The base model's configuration does not say its shape."
        )
        return Range(basis="none", because=why)
    together = machine.processes
    times = f" {together} processes train together, each with a copy: so many times one's." * (together > 1)
    return Range(
        low=look.memory_low * together, high=look.memory_high * together, basis="formula",
        because="Of the training process at its peak, beside the engine: weights in fp32, the adapter with its "
        f"gradients and moments, and what a forward pass keeps of the longest rows.{times} Memory is not recorded by "
        "jobs, so nothing here was measured on this machine.",
    )  # fmt: skip


def _notes(plan: Plan, look: Look, machine: Machine) -> list[str]:
    notes = [
        "No row is ever cut. One that is longer than max_length is refused, and the job with it: shorten it, split it, "
        "or leave it out."
    ]
    if look.sampled:
        notes.append(
            f"The training file is large: {look.rows_looked_at} of its {look.rows} rows, evenly spread, were looked "
            "at. Tokens are scaled up from them; faults of the others were not seen."
        )
    elif look.rows_looked_at < look.rows:
        notes.append(
            f"{look.rows_looked_at} of {look.rows} rows, evenly spread, were turned into tokens; tokens are scaled up."
        )
    if plan.validation is not None:
        notes.append("Held-out rows were not turned into tokens; they are taken to be as long as the others.")
        if look.set_aside:
            notes.append(
                f"{look.set_aside} held-out rows ask what training asks, in the same words or nearly: they would "
                "measure memory and are set aside."
            )
        if "held_out_in_training" in look.not_looked_at:
            notes.append(
                "Whether held-out rows stand in training too was not looked at: a file is too large."
            )
    if look.replay_rows:
        notes.append(
            f"Beside its own rows it replays {look.replay_rows} general questions, written for Tailorbird and answered "
            f"by the base model, {look.replay_reads} times in all: against forgetting."
        )
    if plan.settings.early_stopping_patience:
        notes.append("The job may end before its last pass: it stops when held-out rows get no better.")
    if machine.processes > 1:
        notes.append(
            f"{machine.processes} processes train together. The time rests on earlier jobs by as many, or on the "
            "formula, which takes the cores as they are and expects nothing more of it."
        )
        if plan.settings.batch_size % machine.processes:
            notes.append(
                f"They cannot divide a batch of {plan.settings.batch_size} evenly: the job would be refused."
            )
    notes.append("What only weights can show is looked for by the job itself, before its first step.")
    return notes

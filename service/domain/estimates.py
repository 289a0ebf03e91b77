"""Before a job: the look that a process of its own took at a request's rows, put together with what the service knows.

Owns how long a job may take and how much memory: by what earlier jobs of the same base model and method took on this
machine, else by formulas whose figures and doubts are told. Makes no job, never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.estimates import Estimate, Finding, Look, Range, Servable
from service.contract.fingerprint import machine as machine_now
from service.contract.jobs import JobCreate, TrainingReport
from service.contract.rendering import Rendering
from service.db import tables
from service.domain import files, job_requests
from service.domain.job_requests import Plan
from service.engine.rendering import CODE

JOBS = 20
"""Earlier jobs that count: the newest."""
SURE: tuple[tuple[int, Literal["high", "medium", "low"], float, float], ...] = (
    (8, "high", 1.25, 1.1), (3, "medium", 1.5, 1.2), (1, "low", 2.0, 1.4),
)  # fmt: skip
"""From so many earlier jobs on: how sure they make, how many times as quick as the quickest of them a job may be, or as
slow as the slowest, and how far above their highest memory, or below their lowest: rows differ."""
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


MEMORY_DOUBT = 1.5
"""How far off the formula of memory may be, either way, where nothing was measured."""


@dataclass(frozen=True)
class Earlier:
    """What an earlier job took."""

    rate: float
    """Tokens a second of its steps: its own rows', and those of what it read beside them, by what they cost."""
    start: float = 0.0
    """Seconds until its first step; 0 where they are in the rate, as in the reports of an early version."""
    memory: float | None = None
    """Its peak, as a multiple of what the formula says for it."""


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


async def earlier(session: AsyncSession, kind: str, base_sha256: str, processes: int) -> list[Earlier]:
    """What the newest published jobs of a method took on this very base model and machine, by as many processes."""
    made = tables.Adapter
    alike = (
        made.manifest["kind"].as_string() == kind,
        made.manifest["base_sha256"].as_string() == base_sha256,
        made.manifest["step"].as_integer().is_(None),
        func.coalesce(made.manifest["processes"].as_integer(), 1) == processes,
    )
    newest = select(made.report).where(*alike).order_by(made.created_at.desc()).limit(JOBS)
    reports = [TrainingReport.model_validate(report) for report in await session.scalars(newest) if report]
    return [one for report in reports if (one := _taken(report)) is not None]


def _taken(report: TrainingReport) -> Earlier | None:
    """None of a report that says nothing of this machine's speed."""
    tokens, passes, rows, usage = report.trained_tokens, report.epochs, report.rows, report.usage
    if not (tokens and passes and rows and report.seconds) or (usage and usage.machine != machine_now()):
        return None
    work = tokens + _held_out_work(tokens / passes / rows, report.held_out, passes)
    work += _replay_work(report.replay.reads if report.replay else 0)
    if usage is None or not usage.step_seconds:
        return Earlier(work / report.seconds)
    peak, expected = usage.peak_bytes, usage.expected_bytes
    return Earlier(
        rate=work / usage.step_seconds, start=max(0.0, report.seconds - usage.step_seconds),
        memory=peak / expected if peak and expected else None,
    )  # fmt: skip


def put_together(
    wanted: JobCreate, plan: Plan, look: Look, rendering: Rendering, before: list[Earlier], machine: Machine,
    held: str | None = None, one_person: float | None = None,
) -> Estimate:  # fmt: skip
    """The answer; `before` is what earlier jobs took, `held` is why a start would be refused for its feedback,
    `one_person` is told by the data sheet."""
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
    look = _as_brought(look, plan)
    servable = _servable(look, machine)
    held_out = plan.validation.rows - look.set_aside if plan.validation else 0
    return Estimate(
        model=wanted.model, method=cast(Literal["supervised", "dpo", "kto"], job_requests.METHODS[plan.kind]),
        hyperparameters=job_requests.chosen(wanted, plan.kind, plan.settings.model_dump()),
        chosen=plan.reasons, seed=plan.settings.seed, held_out=held_out, look=look, servable=servable,
        rendering=rendering,
        seconds=_seconds(plan, look, before, held_out, machine), memory_bytes=_memory(look, before, machine),
        ready=not look.findings and held is None and servable.rank and servable.modules is not False, held=held,
        without_instructions=look.without_instructions if plan.instructed else 0, one_person=one_person,
        notes=[*_notes(plan, look, machine), *_of_people(one_person)],
    )  # fmt: skip


def _as_brought(look: Look, plan: Plan) -> Look:
    """Files by the names that people know them by; the rows' own names are for programs."""
    findings = [
        one.model_copy(update={"message": files.as_brought(one.message, plan.training, plan.validation)})
        for one in look.findings
    ]
    return look.model_copy(update={"findings": findings})


def _servable(look: Look, machine: Machine) -> Servable:
    others = [name for name in look.shape.modules if name not in machine.layers] if look.shape else []
    return Servable(
        rank=look.rank <= machine.max_rank, max_rank=machine.max_rank,
        modules=not others if look.shape else None, not_served=others,
    )  # fmt: skip


def _seconds(plan: Plan, look: Look, before: list[Earlier], held_out: int, machine: Machine) -> Range:
    passes = plan.settings.n_epochs
    row = look.tokens / max(look.rows, 1)
    work = look.tokens * passes + _held_out_work(row, held_out, passes) + _replay_work(look.replay_reads)
    patience = plan.settings.early_stopping_patience
    least = work * min(1.0, (patience + 1) / passes) if patience else work
    if before:
        confidence, spread, _ = _sure(len(before))
        rates, starts = [one.rate for one in before], [one.start for one in before]
        return Range(
            low=round((min(starts) + least / max(rates)) / spread, 1),
            high=round((max(starts) + work / min(rates)) * spread, 1),
            basis="earlier_jobs", jobs=len(before), confidence=confidence,
            because=f"{_earlier_jobs(before)} made {min(rates):.0f} to {max(rates):.0f} tokens a second and took "
            f"{min(starts):.0f} to {max(starts):.0f} s to start; {spread:g} times as quick and as slow is allowed for. "
            "It holds as far as what else runs on the machine is as it was.",
        )  # fmt: skip
    none = "No earlier job of this method on this base model is recorded here"
    if machine.has_gpu:
        return _nothing(f"{none}, and there is no formula for a GPU.")
    if look.shape is None:
        return _nothing(f"{none}, and the base model's size is not known.")
    # Forward and backward are 2 operations each for a parameter and a token: the base gets no gradients of its own.
    speed = SPEED * machine.cores / (4 * look.shape.base_parameters)
    if plan.kind != "sft":
        work += look.tokens * HELD_OUT  # the reference reads every row once
    return Range(
        low=round(least / speed / DOUBT + START[0], 1), high=round(work / speed * DOUBT + START[1], 1), basis="formula",
        confidence="guess",
        because=f"{none}. By a formula: 4 operations for each parameter and token, at {SPEED / 1e9:g}e9 a second on "
        f"each of {machine.cores} cores. That speed was seen on another machine and may be {DOUBT:g} times too high or "
        "too low here: a guess of the order of magnitude, no more.",
    )  # fmt: skip


def _held_out_work(row: float, held_out: int, passes: float) -> float:
    """Held-out rows are read before the first step and after each pass; as tokens that are learned from."""
    return HELD_OUT * row * held_out * (passes + 1)


def _replay_work(reads: int) -> float:
    """The base model reads a replayed row as well."""
    return reads * REPLAY_TOKENS * (1 + HELD_OUT)


def _memory(look: Look, before: list[Earlier], machine: Machine) -> Range:
    if machine.has_gpu:
        return _nothing("There is no formula for a GPU.")
    if look.memory_bytes is None:
        return _nothing("The base model's configuration does not say its shape.")
    together = machine.processes
    what = "Of the training process at its peak, beside the engine"
    times = f" {together} processes train together, each with a copy: so many times one's." * (together > 1)
    middle = look.memory_bytes * together
    if known := [one.memory for one in before if one.memory]:
        confidence, _, spread = _sure(len(known))
        return Range(
            low=round(middle * min(known) / spread), high=round(middle * max(known) * spread), basis="earlier_jobs",
            jobs=len(known), confidence=confidence,
            because=f"{what}. {_earlier_jobs(known)} took {min(known):.2f} to {max(known):.2f} times what a formula "
            f"says for them; {spread:g} times less and more is allowed for.{times}",
        )  # fmt: skip
    return Range(
        low=round(middle / MEMORY_DOUBT), high=round(middle * MEMORY_DOUBT), basis="formula", confidence="guess",
        because=f"{what}, by a formula: the base model, the adapter with its gradients and moments, and what a forward "
        f"pass keeps of the longest rows. It may be {MEMORY_DOUBT:g} times too high or too low.{times} No job of this "
        "method on this base model has recorded its memory here yet.",
    )  # fmt: skip


def _sure(jobs: int) -> tuple[Literal["high", "medium", "low"], float, float]:
    """How sure so many earlier jobs make, and what is allowed for: of time, and of memory."""
    return next((confidence, time, memory) for least, confidence, time, memory in SURE if jobs >= least)


def _earlier_jobs(before: Sequence[object]) -> str:
    return f"Earlier jobs of this method on this base model and machine ({len(before)})"


def _nothing(why: str) -> Range:
    return Range(basis="none", confidence="none", because=why)


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
    notes += _left_out(look)
    if plan.instructed and look.without_instructions:
        notes.append(
            f"{look.without_instructions} rows of those looked at bring no instructions, and the assistant's own go "
            "before every question it is asked: it would be trained on other prompts than it is served. Bring a file "
            "again with the assistant's instructions before such rows; of feedback, judge newer answers."
        )
    if plan.validation is not None:
        notes.append("The time takes held-out rows to be as long as the others.")
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
    notes.append("What only weights can show is looked for by the job itself, before its first step.")
    return notes


def _of_people(share: float | None) -> list[str]:
    if share is None:
        return []
    return [
        f"One person stands behind {share:.0%} of the preferences or ratings (`one_person`): the assistant would learn "
        "one person's taste. Bring the judgement of others too."
    ]


def _left_out(look: Look) -> list[str]:
    notes = []
    if look.unfit:
        notes.append(
            f"{look.unfit} rows of feedback, of those looked at, are longer than {look.max_length} tokens or hold what "
            "ends an answer: they are left out."
        )
    if look.set_aside:
        notes.append(
            f"{look.set_aside} held-out rows ask what training asks or asked before, in the same words or nearly: they "
            "would measure memory and are set aside."
        )
    return notes

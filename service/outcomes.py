"""What a job gets, and what becomes of what it made: the two ends of a run folder.

An adapter is published only when the running engine was seen to serve it. Owns that order:
keep the files, load, prove, write the records. Part of the worker, so it commits its steps.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from service import known_answers
from service.contract import folder
from service.contract.adapters import AdapterCreate, AdapterSpec
from service.contract.evaluations import EvaluationReport, EvaluationSpec, Judge
from service.contract.jobs import (
    Manifest,
    ProofCase,
    TrainingKind,
    TrainingReport,
    TrainingSettings,
)
from service.contract.releases import ServingProof
from service.db import tables
from service.db.session import Database
from service.domain import (
    adapters,
    assistants,
    evaluations,
    files,
    job_requests,
    jobs,
    keys,
    passes,
    releases,
    result_files,
)
from service.domain.keys import Hasher
from service.engine.client import Engine
from service.engine.proof import prove, verdict
from service.errors import EngineTimeout, EngineUnavailable, TailorbirdError
from service.settings import Settings
from service.storage.local import Store

PATIENCE = 3600.0
"""Seconds to wait for the engine before a finished adapter counts as unpublishable: to train again takes longer."""
TOLD_AFTER = 10.0
"""Seconds of waiting from which on the job says so."""


class NotServed(TailorbirdError):
    """A finished adapter that the engine does not serve as it was trained: it is not published."""

    code = "not_served"


@dataclass(frozen=True)
class Parts:
    """What preparing and publishing need of the service."""

    settings: Settings
    store: Store
    hasher: Hasher
    engines: list[Engine]


async def prepare(
    session: AsyncSession, parts: Parts, job: tables.Job
) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """The spec of a job and what its run folder needs, by name: a file kept here, or a text."""
    if job.kind == "evaluation":
        return await _prepare_evaluation(session, parts, job)
    if job.kind == "import":
        return await _prepare_import(session, parts, job)
    store, settings = parts.store, parts.settings
    training = await files.get_kept(session, job.training_file or "")
    validation = await files.get_kept(session, job.validation_file) if job.validation_file else None
    spec, inputs = job_requests.run_of(
        store, id_=job.id, kind=cast(TrainingKind, job.kind), base_folder=settings.base_folder,
        base_name=settings.model_name, start=job.start_adapter, train=training.sha256,
        validation=validation.sha256 if validation else None,
        cases=await job_requests.held_out_cases(session, store, job.assistant),
        learned=await job_requests.learned_before(session, store, job.start_adapter),
        settings=TrainingSettings.model_validate(job.settings), threads=settings.threads,
    )  # fmt: skip
    return spec.model_dump(), inputs


async def _prepare_import(
    session: AsyncSession, parts: Parts, job: tables.Job
) -> tuple[dict[str, Any], dict[str, Path | str]]:
    assistant = await assistants.get_assistant(session, job.assistant) if job.assistant else None
    wanted = AdapterCreate.model_validate({name: job.request[name] for name in AdapterCreate.model_fields})
    spec = AdapterSpec(
        id=job.id, base_model=parts.settings.base_folder, adapter=str(parts.store.adapter(job.request["adapter"])),
        prompts=adapters.prompts(wanted, assistant), max_length=parts.settings.max_row,
    )  # fmt: skip
    return spec.model_dump(), {}


async def _prepare_evaluation(
    session: AsyncSession, parts: Parts, job: tables.Job
) -> tuple[dict[str, Any], dict[str, Path | str]]:
    settings = parts.settings
    cases = await files.get_kept(session, job.training_file or "")
    assistant = await assistants.get_assistant(session, job.assistant or "")
    asked = await evaluations.contestants(session, job)
    judge = None
    if settings.judge_url and settings.judge_model:
        judge = Judge(base_url=settings.judge_url, model=settings.judge_model)
    spec = EvaluationSpec(
        id=job.id, gateway=settings.api_url, assistant=assistant.name, cases_sha256=cases.sha256, judge=judge,
        models={who: model for who, (model, _) in asked.items()},
        adapters={who: adapter for who, (_, adapter) in asked.items()},
        max_tokens=min(256, assistant.max_tokens), at_once=24,
    )  # fmt: skip
    spec.learned = await job_requests.learned_before(session, parts.store, spec.adapters["candidate"])
    inputs: dict[str, Path | str] = {folder.CASES: parts.store.file(cases.sha256)}
    inputs |= job_requests.earlier_files(parts.store, spec.learned)
    try:
        engines = [await engine.version() for engine in parts.engines]
    except TailorbirdError:
        return spec.model_dump(), inputs  # everybody is asked, once the engine answers again
    candidate = await session.get_one(tables.Adapter, asked["candidate"][1])
    spec.served_sha256 = known_answers.served_sha256(
        base_sha256=candidate.manifest["base_sha256"], instructions=assistant.instructions, engines=engines,
        cases_sha256=cases.sha256, max_tokens=spec.max_tokens, seed=spec.seed,
    )  # fmt: skip
    before = await evaluations.finished_before(session, assistant.name)
    spec.known, answers = known_answers.take_over(spec, [parts.store.job(job_id) for job_id in before])
    inputs[folder.KNOWN] = "".join(answer.model_dump_json() + "\n" for answer in answers)
    return spec.model_dump(), inputs


async def take_in(database: Database, parts: Parts, job: tables.Job, place: Path) -> None:
    """What a finished run folder holds becomes part of the service."""
    if job.kind == "evaluation":
        report = EvaluationReport.model_validate(folder.read_json(place / folder.REPORT))
        async with database.writing() as session:
            fresh = await jobs.get_job(session, None, job.id)
            if await _cancelled(session, fresh):
                return
            await evaluations.finish(session, fresh, report)
            said = "The gate says " + report.gate.verdict + ": " + report.gate.reasons[0]
            code = "evaluation_pass" if report.gate.verdict == "pass" else "evaluation_hold"
            await jobs.end(session, fresh, "succeeded", said, code=code)
        return
    trained = TrainingReport.model_validate(folder.read_json(place / folder.REPORT))
    digest, size = await asyncio.to_thread(
        parts.store.put_adapter, place / trained.adapter, adapters.servable(parts.settings)
    )
    told, code = "Trained. The running server takes the adapter in and is held against it.", "trained"
    if job.kind == "import":
        told, code = "Checked. The running server takes the adapter in and is held against PEFT.", "brought"
    async with database.writing() as session:
        await jobs.add_event(session, job.id, told, code=code)
    hint = " Send questions of its own field as 'prompts'." if job.kind == "import" else ""
    proof = await _proved(database, parts, job.id, digest, place, hint)
    async with database.reading() as session:
        figures = await result_files.written(session, job.id)
    figures_sha256 = await asyncio.to_thread(parts.store.put_bytes, figures) if figures else ""
    async with database.writing() as session:
        fresh = await jobs.get_job(session, None, job.id)
        cancelled = await _cancelled(session, fresh)
        if proof is not None and not cancelled:
            if figures:
                await result_files.keep(session, fresh, figures, figures_sha256)
            await _publish(session, fresh, parts, digest, size, proof, trained)
    if cancelled:
        await withdraw(parts, digest)


async def _cancelled(session: AsyncSession, job: tables.Job) -> bool:
    """Whether a cancel came before all was taken in; the job has then ended."""
    if job.cancel_requested:
        await jobs.end(session, job, "cancelled", "Cancelled before its end.", code="cancelled")
    return job.cancel_requested


async def _proved(
    database: Database, parts: Parts, job_id: str, digest: str, place: Path, hint: str
) -> ServingProof | None:
    """What the engines were seen to serve, asked again while one of them is not to be had; none when the job is to be
    cancelled meanwhile. Raises `NotServed`, and `EngineUnavailable` after `PATIENCE`."""
    began, told = time.monotonic(), False
    while True:
        try:
            return await publishable(parts, digest, place, hint)
        except (EngineUnavailable, EngineTimeout) as error:
            if time.monotonic() > began + PATIENCE:
                raise EngineUnavailable(
                    "The engine did not come up, so the adapter could not be proved. Start the job again."
                ) from error
        async with database.writing() as session:
            if (await jobs.get_job(session, None, job_id)).cancel_requested:
                return None
            if not told and time.monotonic() > began + TOLD_AFTER:
                told, waits = True, "The engine cannot be reached. The finished adapter waits for it."
                await jobs.add_event(session, job_id, waits, level="warn", code="engine_awaited")
        await asyncio.sleep(1.0)


async def withdraw(parts: Parts, digest: str) -> None:
    """Nobody has heard of it yet. Its files go later (`upkeep`): an engine may just be reading them."""
    await asyncio.gather(*(engine.unload(digest) for engine in parts.engines), return_exceptions=True)


async def publishable(parts: Parts, digest: str, place: Path, hint: str = "") -> ServingProof:
    """Load the adapter into every engine and hold each against the trainer. Raises `NotServed`, and `EngineUnavailable`
    or `EngineTimeout` where an engine is not to be had now."""
    cases = [ProofCase.model_validate(line) for line in folder.read_lines(place / folder.PROOF)]
    proof: ServingProof | None = None
    for engine in parts.engines:
        await engine.load(digest, str(parts.store.adapter(digest)))
        base = parts.settings.model_name
        proof = await prove(engine, base, digest, cases, parts.settings.proof_tolerance)
        reason = verdict(proof)
        if reason is not None:
            await engine.unload(digest)
            raise NotServed(f"The adapter is not published: {reason}{hint}")
    if proof is None:
        raise EngineUnavailable("No engine is configured.")
    return proof


async def _publish(
    session: AsyncSession,
    job: tables.Job,
    parts: Parts,
    digest: str,
    size: int,
    proof: ServingProof,
    trained: TrainingReport,
) -> None:
    manifest = Manifest.model_validate(folder.read_json(parts.store.adapter(digest) / folder.MANIFEST))
    release = await releases.publish(
        session, job, digest=digest, size=size, manifest=manifest, proof=proof, report=trained
    )
    agreed = (
        f"Seen to serve: log-probabilities differ from the trainer's by {proof.distance_to_trainer:.3f} "
        f"and from the base model's by {proof.distance_to_base:.3f} on average."
    )
    distances = {"trainer": proof.distance_to_trainer, "base": proof.distance_to_base}
    await jobs.add_event(session, job.id, agreed, code="seen_to_serve", data=distances)
    await passes.end_with(session, job, trained.kept_step or trained.steps)
    if release is not None:
        await jobs.add_event(
            session, job.id, f"Release {release.number} of '{release.assistant}' is a candidate.",
            code="candidate", data={"number": release.number, "assistant": release.assistant},
        )  # fmt: skip
        await evaluations.measure(session, release, job.user_id)
    done = f"The job is done. The tuned model is {job.fine_tuned_model}."
    model = {"model": str(job.fine_tuned_model)}
    await jobs.end(session, job, "succeeded", done, code="done", values=model)


def environment(parts: Parts, job: tables.Job, *, key: str | None = None) -> dict[str, str]:
    """The subprocess's environment: this one without the service's own settings and secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAILORBIRD_")}
    kept |= {
        "HF_HUB_OFFLINE": "0" if parts.settings.hub else "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if job.kind == "evaluation":
        kept["TAILORBIRD_EVALUATION_KEY"] = key or ""
        if parts.settings.judge_key:
            kept["TAILORBIRD_JUDGE_KEY"] = parts.settings.judge_key
    return kept


async def lend_key(session: AsyncSession, parts: Parts, job: tables.Job) -> str:
    """A key for one evaluation, good for six hours, in the name of who asked for it."""
    name = f"evaluation {job.id}"
    _, secret = await keys.create_key(
        session, parts.hasher, user_id=job.user_id, kind="session", name=name, life=6 * 3600,
        budget_id=keys.HOUSE,
    )  # fmt: skip
    return secret

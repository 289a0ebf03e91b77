"""What a training would have left behind, written by the service's own functions: an adapter, its release, its measure.

For tests that need something published and no training; the real thing stands in `tests.loop`.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import fingerprint, folder
from service.contract.evaluations import EvaluationReport
from service.contract.jobs import Manifest, TrainingReport, TrainingSettings
from service.contract.releases import ServingProof
from service.db import tables
from service.db.session import Database
from service.domain import evaluations, jobs, releases, result_files
from service.settings import Settings
from service.storage.local import Store
from tests.service.storage.adapters import adapter

Found = TypeVar("Found")
PROOF = ServingProof(
    cases=1, tokens=9, same_prompt_tokens=True, distance_to_trainer=0.01, distance_to_base=1.0, noise=0.01,
    tolerance=0.15, outputs_changed=1, engine="vllm 1",
)  # fmt: skip
TRAINED = TrainingReport(
    steps=4,
    epochs=1,
    rows=3,
    held_out=1,
    trained_tokens=100,
    seconds=1,
    metrics={"train_loss": 1.5, "valid_loss": 1.7},
)
STEPS = (
    {"step": 1, "total_steps": 2, "train_loss": 9.0, "train_mean_token_accuracy": 0.1},
    {"step": 1, "total_steps": 2, "train_loss": 2.0, "train_mean_token_accuracy": 0.5},
    {"step": 2, "total_steps": 2, "train_loss": 1.0, "train_mean_token_accuracy": 0.75},
    {"step": 2, "total_steps": 2, "valid_loss": 1.5, "valid_mean_token_accuracy": 0.6},
)
"""The first one was made again after a break."""
MEASURED = EvaluationReport.model_validate(
    {
        "cases": 1, "languages": {"en": 1}, "contestants": {"candidate": "fanal@1", "base": "fanal@0"},
        "primary": "chrf", "scores": [{"metric": "chrf", "contestant": "candidate", "mean": 0.5, "low": 0.4,
        "high": 0.6, "cases": 1, "failed": 0}], "differences": [{"metric": "chrf", "against": "base", "mean": 0.1,
        "low": 0.0, "high": 0.2, "cases": 1}], "gate": {"verdict": "pass", "reasons": ["It is 10 points better."]},
        "seconds": 1,
    }
)  # fmt: skip


def publish(settings: Settings, job_id: str, made: Path) -> tuple[str, str | None]:
    """End a training job as if it had been trained and proved: `(digest, id of the release it became)`.

    `made` is an empty place for the adapter's files before they are kept.
    """

    async def ended(session: AsyncSession) -> tuple[str, str | None]:
        job = await jobs.get_job(session, None, job_id)
        manifest = Manifest(
            kind="sft", base_model=settings.model_name, base_sha256="b5" * 32, template_sha256="7e" * 32,
            train_sha256="da" * 32, parent=None, job=job_id, settings=TrainingSettings.model_validate(job.settings),
            versions={"peft": "1"}, created_at=1,
        )  # fmt: skip
        place = adapter(made / "adapter", manifest=manifest.model_dump())
        digest = fingerprint.adapter_sha256(place)
        shutil.copytree(place, Store(settings.home).adapter(digest))
        for step in STEPS:
            await jobs.add_event(session, job_id, "Step", type_="metrics", data=step)
        figures = await result_files.written(session, job_id)
        assert figures is not None
        for _ in range(2):  # a worker that is killed in between publishes again
            await result_files.keep(session, job, figures, Store(settings.home).put_bytes(figures))
        release = await releases.publish(
            session, job, digest=digest, size=1, manifest=manifest, proof=PROOF, report=TRAINED
        )
        await jobs.end(session, job, "succeeded", "The job is done.")
        return digest, release.id if release else None

    return _within(settings, ended)


def measure(settings: Settings, evaluation_id: str) -> None:
    """End an evaluation as if everybody had been asked: its gate passes."""

    async def ended(session: AsyncSession) -> None:
        evaluation = await session.get_one(tables.Evaluation, evaluation_id)
        job = await jobs.get_job(session, None, evaluation.job_id)
        await evaluations.finish(session, job, MEASURED)
        await jobs.end(session, job, "succeeded", "The gate says pass.")
        place = Store(settings.home).job(job.id)
        place.mkdir(parents=True)
        (place / folder.REPORT_PAGES["en"]).write_text("<!doctype html><title>Better</title>")

    _within(settings, ended)


def _within(settings: Settings, work: Callable[[AsyncSession], Coroutine[Any, Any, Found]]) -> Found:
    async def one() -> Found:
        database = Database(settings.database)
        try:
            async with database.writing() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(one())

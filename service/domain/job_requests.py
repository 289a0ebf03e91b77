"""What a training job asks for: its method, its files and its hyperparameters, as OpenAI's wire has them.

Owns where each of them stands in a request, and what a request without it means. Never commits.
"""

import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.jobs import (
    DpoHyperparameters,
    Hyperparameters,
    JobCreate,
    KtoHyperparameters,
    TrainingKind,
    TrainingSettings,
)
from service.db import tables
from service.domain import files
from service.domain.hyperparameters import Run, label_weights, resolve
from service.domain.keys import Caller
from service.errors import BadInput, NotFound
from service.storage.local import Store

KINDS: dict[str, TrainingKind] = {"supervised": "sft", "dpo": "dpo", "kto": "kto"}
"""What a job is, by the name of its method on OpenAI's wire."""
HYPERPARAMETERS: dict[str, type[Hyperparameters]] = {
    "supervised": Hyperparameters,
    "dpo": DpoHyperparameters,
    "kto": KtoHyperparameters,
}


def hyperparameters(wanted: JobCreate) -> Hyperparameters:
    """From the method, else from OpenAI's older top-level field, which is older than KTO."""
    method = wanted.method.type if wanted.method else "supervised"
    settings = getattr(wanted.method, method) if wanted.method else None
    if method == "kto" and wanted.hyperparameters is not None:
        raise BadInput(
            "The settings of KTO stand in 'method.kto.hyperparameters'. Move them there.",
            param="hyperparameters",
        )
    if settings is not None:
        return settings.hyperparameters
    older = wanted.hyperparameters.model_dump() if wanted.hyperparameters else {}
    return HYPERPARAMETERS[method].model_validate(older)


async def resolved(
    store: Store, wanted: JobCreate, given: Hyperparameters, training: tables.File, held_out: int,
    start: tables.Adapter | None, *, max_length: int, width: int | None,
) -> tuple[TrainingSettings, dict[str, str]]:  # fmt: skip
    """Every number of the run, and the reason of each that was left to the service. Raises `BadInput`."""
    run = Run(
        kind=KINDS[wanted.method.type] if wanted.method else "sft", rows=training.rows, held_out=held_out, width=width,
        start=TrainingSettings.model_validate(start.manifest["settings"]) if start else None,
    )  # fmt: skip
    settings, reasons = resolve(run, given, seed=wanted.seed or 0, max_length=max_length)
    if isinstance(given, KtoHyperparameters):
        labels = await asyncio.to_thread(files.count_labels, store.file(training.sha256))
        settings.desirable_weight, settings.undesirable_weight = label_weights(given, *labels)
        weights = {"desirable_weight": given.desirable_weight, "undesirable_weight": given.undesirable_weight}
        same = "Both labels weigh the same (arXiv 2402.01306, equation 8)."
        reasons |= {name: same for name, weight in weights.items() if weight == "auto"}
    return settings, reasons


def used(job: tables.Job) -> dict[str, Any]:
    """Every hyperparameter of a job's method, resolved."""
    asked = hyperparameters(JobCreate.model_validate(job.request))
    multiplier = asked.learning_rate_multiplier
    resolved = {**job.settings, "learning_rate_multiplier": 1.0 if multiplier == "auto" else multiplier}
    names = [name for name in type(asked).model_fields if name in resolved]
    return {name: resolved[name] for name in names if name != "beta" or job.kind != "sft"}


async def training_file(
    session: AsyncSession, caller: Caller, file_id: str, kind: str, param: str
) -> tables.File:
    try:
        file = await files.get_visible(session, caller, file_id)
    except NotFound:
        raise BadInput(f"No file '{file_id}'. Upload it with POST /v1/files first.", param=param) from None
    if file.kind != kind:
        words = {
            "sft": "supervised examples",
            "dpo": "preference pairs",
            "kto": "rated completions",
            "cases": "held-out questions",
            "batch": "requests of a batch",
            "batch_output": "answers of a batch",
        }
        raise BadInput(
            f"File '{file_id}' holds {words[file.kind]}; this job needs {words[kind]}.", param=param
        )
    return file

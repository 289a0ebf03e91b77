"""What a training job asks for: its method, its files and its hyperparameters, as OpenAI's wire has them.

Owns where each of them stands in a request, what a request without it means, and what the run folder of a request gets.
Never commits.
"""

import asyncio
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import folder
from service.contract.datasets import read_objects
from service.contract.jobs import (
    Chosen,
    DpoHyperparameters,
    Hyperparameters,
    JobCreate,
    KtoHyperparameters,
    Method,
    RoundCreate,
    TrainingKind,
    TrainingSettings,
    TrainingSpec,
)
from service.contract.signal import Signal
from service.db import tables
from service.domain import assistants, chat, datasets, files, lineage
from service.domain.hyperparameters import Bounds, Run, because, label_weights, resolve
from service.domain.keys import Caller
from service.errors import BadInput, NotFound
from service.storage.adapters import CONFIG
from service.storage.local import Store

KINDS: dict[str, TrainingKind] = {"supervised": "sft", "dpo": "dpo", "kto": "kto"}
"""What a job is, by the name of its method on OpenAI's wire."""
METHODS = {kind: method for method, kind in KINDS.items()}
HYPERPARAMETERS: dict[str, type[Hyperparameters]] = {
    "supervised": Hyperparameters,
    "dpo": DpoHyperparameters,
    "kto": KtoHyperparameters,
}


@dataclass(frozen=True)
class Plan:
    """A training job before it is one: everything of the request found, allowed and resolved."""

    kind: TrainingKind
    training: tables.File
    validation: tables.File | None
    assistant: str | None
    start: tables.Adapter | None
    """The adapter to go on from; none for the base model."""
    settings: TrainingSettings
    reasons: dict[str, Chosen]
    signal: Signal | None = None
    """What the feedback is worth that the training file was frozen from; none for rows from elsewhere."""
    instructed: bool = False
    """Whether the assistant's own instructions go before every question it is asked."""


async def plan(
    session: AsyncSession, store: Store, caller: Caller, wanted: JobCreate, *,
    base_name: str, min_rows: int, bounds: Bounds,
) -> Plan:  # fmt: skip
    """What a request amounts to. Raises `BadInput`, `NotFound`, `NotAllowed`; writes nothing."""
    if wanted.integrations:
        raise BadInput(
            "Integrations are not served: nothing leaves this machine. Leave the field out.",
            param="integrations",
        )
    kind = kind_of(wanted)
    hyperparameters(wanted)  # what cannot stand is refused before any file is looked for
    training = await training_file(session, caller, wanted.training_file, kind, "training_file")
    if training.rows < min_rows:
        raise BadInput(
            f"The training file has {training.rows} rows; at least {min_rows} are needed.",
            param="training_file",
        )
    validation = None
    if wanted.validation_file is not None:
        validation = await training_file(session, caller, wanted.validation_file, kind, "validation_file")
    signal = await datasets.signal_of(session, training)
    return await plan_on(
        session, store, caller, wanted, training, validation, signal, base_name=base_name, bounds=bounds
    )


async def plan_on(
    session: AsyncSession, store: Store, caller: Caller, wanted: JobCreate, training: tables.File,
    validation: tables.File | None, signal: Signal | None, *, base_name: str, bounds: Bounds,
) -> Plan:  # fmt: skip
    """The same on files that were found, or that have no record: those of feedback that is not frozen yet."""
    given = hyperparameters(wanted)
    route = await chat.resolve(session, wanted.model, base_name=base_name)
    assistant = (wanted.metadata or {}).get("assistant") or route.assistant
    instructed = False
    if assistant is not None:
        caller.must_be("reviewer")
        instructed = bool((await assistants.get_assistant(session, assistant)).instructions)
    start = None if route.adapter == chat.BASE else await session.get_one(tables.Adapter, route.adapter)
    if start is not None and not caller.may_see(start.user_id):
        # Whoever goes on from an adapter may take along what comes of it, which holds nearly all of it.
        caller.must_be("reviewer")
    settings, reasons = await resolved(
        store, wanted, given, training, validation.rows if validation else 0, start, bounds
    )
    return Plan(
        kind_of(wanted), training, validation, assistant, start, settings, reasons, signal, instructed
    )


def run_of(
    store: Store, *, id_: str, kind: TrainingKind, base_folder: str, base_name: str, start: str | None,
    train: str, validation: str | None, cases: str | None, learned: list[str], settings: TrainingSettings,
    threads: int | None,
) -> tuple[TrainingSpec, dict[str, Path | str]]:  # fmt: skip
    """What a run folder gets, of a job or of a look at one: its `job.json`, and by name a file kept here, or a text.

    `start` is the adapter to go on from, the files are named by their digests; `cases` are `held_out_cases`, `learned`
    is what the start adapter was trained on.
    """
    inputs: dict[str, Path | str] = {folder.TRAIN: store.file(train)}
    if validation is not None:
        inputs |= {folder.VALIDATION: store.file(validation), **earlier_files(store, learned)}
    spec = TrainingSpec(
        kind=kind, id=id_, base_model=base_folder, base_name=base_name, start_digest=start,
        start_adapter=str(store.adapter(start)) if start else None, train_sha256=train,
        cases_sha256=hashlib.sha256(cases.encode()).hexdigest() if cases is not None else None,
        learned=learned if validation is not None else [],
        settings=settings, threads=threads,
    )  # fmt: skip
    if cases is not None:
        inputs[folder.CASES] = cases
    return spec, inputs


async def learned_before(session: AsyncSession, store: Store, adapter: str | None) -> list[str]:
    """SHA-256 of what an adapter was trained on, and what it went on from, as far as it is still kept."""
    if adapter is None:
        return []
    return [one for one in await lineage.learned_files(session, adapter) if store.file(one).is_file()]


def earlier_files(store: Store, learned: list[str]) -> dict[str, Path]:
    """Files that something was trained on, by their names in a run folder."""
    return {folder.LEARNED.format(number=at): store.file(sha256) for at, sha256 in enumerate(learned)}


def of_round(
    wanted: RoundCreate, training_file: str, validation_file: str | None, **metadata: str
) -> JobCreate:
    """The job that a round asks for, on its dataset. Raises `BadInput` for settings that its method has not."""
    name = METHODS[wanted.method]
    settings = {"hyperparameters": {"n_epochs": wanted.n_epochs, **wanted.hyperparameters}}
    try:
        method = Method.model_validate({"type": name, name: settings})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][2])
        said = error.errors()[0]["msg"]
        raise BadInput(f"hyperparameters.{field}: {said}.", param=f"hyperparameters.{field}") from None
    return JobCreate(
        model=wanted.assistant, training_file=training_file, validation_file=validation_file, suffix=wanted.assistant,
        method=method, metadata={"assistant": wanted.assistant, **metadata},
    )  # fmt: skip


def kind_of(wanted: JobCreate) -> TrainingKind:
    return KINDS[wanted.method.type] if wanted.method is not None else "sft"


def told(reasons: dict[str, Chosen]) -> dict[str, str]:
    """The sentence of each."""
    return {name: one.because for name, one in reasons.items()}


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
    start: tables.Adapter | None, bounds: Bounds,
) -> tuple[TrainingSettings, dict[str, Chosen]]:  # fmt: skip
    """Every number of the run, and the reason of each that was left to the service. Raises `BadInput`."""
    run = Run(
        kind=kind_of(wanted), rows=training.rows, held_out=held_out, bounds=bounds,
        start=await asyncio.to_thread(_settings_of, store, start) if start else None,
    )  # fmt: skip
    settings, reasons = resolve(run, given, seed=wanted.seed or 0)
    if settings.batch_size % bounds.processes:
        raise BadInput(
            f"batch_size is {settings.batch_size}, which the {bounds.processes} processes that train together here "
            f"cannot divide evenly. Send a multiple of {bounds.processes}, or leave it out.",
            param="hyperparameters.batch_size",
        )  # fmt: skip
    if isinstance(given, KtoHyperparameters):
        labels = await asyncio.to_thread(files.count_labels, store.file(training.sha256))
        settings.desirable_weight, settings.undesirable_weight = label_weights(given, *labels)
        weights = {"desirable_weight": given.desirable_weight, "undesirable_weight": given.undesirable_weight}
        reasons |= {name: because("same_weight") for name, weight in weights.items() if weight == "auto"}
    return settings, reasons


def _settings_of(store: Store, start: tables.Adapter) -> TrainingSettings:
    """What an adapter to go on from was trained with; of one that was trained elsewhere, what its shape says."""
    if start.manifest["settings"] is not None:
        return TrainingSettings.model_validate(start.manifest["settings"])
    shape = folder.read_json(store.adapter(start.digest) / CONFIG)
    return TrainingSettings(
        n_epochs=1, batch_size=1, learning_rate=1e-4, lora_rank=shape["r"], lora_alpha=shape["lora_alpha"],
        use_rslora=bool(shape.get("use_rslora")),
    )  # fmt: skip


def used(job: tables.Job) -> dict[str, Any]:
    """Every hyperparameter of a job's method, resolved."""
    if job.kind == "import":
        return {}
    # What was asked before metadata had its limits must still be shown.
    return chosen(JobCreate.model_validate({**job.request, "metadata": None}), job.kind, job.settings)


def chosen(wanted: JobCreate, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The same of a request that was resolved to these settings."""
    asked = hyperparameters(wanted)
    multiplier = asked.learning_rate_multiplier
    resolved = {**settings, "learning_rate_multiplier": 1.0 if multiplier == "auto" else multiplier}
    names = [name for name in type(asked).model_fields if name in resolved]
    return {name: resolved[name] for name in names if name != "beta" or kind != "sft"}


async def held_out_cases(session: AsyncSession, store: Store, assistant: str | None) -> str | None:
    """The questions that the trainer refuses in any row: those that an assistant is measured on.

    Of a job for no assistant those of all, as its adapter may go on for any of them. They are named by their assistant
    alone then, since who starts such a job need not be a reviewer.
    """
    kept = await assistants.held_out(session, assistant)
    if not kept:
        return None
    return await asyncio.to_thread(
        _questions, {name: store.file(sha) for name, sha in kept.items()}, assistant
    )


def _questions(kept: dict[str, Path], assistant: str | None) -> str:
    if assistant is not None:
        return kept[assistant].read_bytes().decode()  # byte for byte: the hash is that of the file
    lines: list[str] = []
    for name, path in kept.items():
        with open(path, "rb") as content:
            lines += [json.dumps(case | {"id": f"one of {name}"}) for _, case in read_objects(content)]
    return "\n".join(lines)


async def training_file(
    session: AsyncSession, caller: Caller, file_id: str, kind: str, param: str
) -> tables.File:
    """A file that holds what a job of this kind needs. Raises `BadInput`."""
    try:
        file = await files.get_visible(session, caller, file_id)
    except NotFound:
        raise BadInput(f"No file '{file_id}'. Upload it with POST /v1/files first.", param=param) from None
    if file.kind != ("adapter" if kind == "import" else kind):
        words = {
            "sft": "supervised examples",
            "dpo": "preference pairs",
            "kto": "rated completions",
            "cases": "held-out questions",
            "batch": "requests of a batch",
            "batch_output": "answers of a batch",
            "results": "the figures of a training",
            "adapter": "an adapter",
            "import": "an adapter",
        }
        raise BadInput(
            f"File '{file_id}' holds {words[file.kind]}; this job needs {words[kind]}.", param=param
        )
    if param == "training_file" and file.parted is not None:
        raise BadInput(
            f"File '{file_id}' is held out of '{file.parted['of']}', to measure by. Train on that one, and give this "
            "one as 'validation_file'.",
            param=param, code="held_out_file",
        )  # fmt: skip
    return file

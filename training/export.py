"""What a run leaves behind: the adapter and its manifest, the proof cases, and the report, written last.

The adapter is written to a side folder that is renamed when whole, then read back from disk for the proof (`proof`).
A finished pass leaves the same while the run goes on, its proof computed by the model that is being trained.
Owns the files' shapes on disk. Knows no trainer.
"""

import importlib.metadata
import os
import shutil
import time
from pathlib import Path
from typing import Any

from peft import PeftModel

from service.contract import fingerprint, folder
from service.contract.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from service.contract.jobs import Manifest, TrainingReport, TrainingSpec
from service.contract.replay import Replayed
from training import checkpoint, memory, processes, proof
from training.data import Chat
from training.rows import Rows

VERSIONS = ("torch", "transformers", "peft", "trl")


def write(
    run: Path, spec: TrainingSpec, model: PeftModel, chat: Chat, rows: Rows, report: TrainingReport
) -> None:
    """Save the adapter, prove what it computes, then write the report: its existence means done.

    Raises `Refused` with code `adapter_changes_nothing` when the saved adapter equals the base model.
    """
    if not processes.first():
        return
    adapter = _save(run, spec, model, rows, report.replay)
    cases = proof.of_rows(Path(spec.base_model), adapter, chat, rows)
    proof.write(run, cases, mend="Raise the learning rate or the epochs.")
    if report.usage is not None:
        report.usage.peak_bytes = memory.peak()
    folder.write_json(run / folder.REPORT, report.model_dump())
    checkpoint.forget(run)


def write_pass(
    place: Path, spec: TrainingSpec, model: PeftModel, chat: Chat, rows: Rows, report: TrainingReport
) -> None:
    """Write a finished pass's folder, whole or not at all. Changes nothing of what the run goes on with."""
    side = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        side.mkdir()
        _save(side, spec, model, rows, report.replay, step=report.steps)
        proof.keep(side, proof.of_trained(model, chat, rows))
        folder.write_json(side / folder.REPORT, report.model_dump())
        os.rename(side, place)
    finally:
        shutil.rmtree(side, ignore_errors=True)


def _save(
    run: Path,
    spec: TrainingSpec,
    model: PeftModel,
    rows: Rows,
    replay: Replayed | None,
    step: int | None = None,
) -> Path:
    """Write `adapter/`: safetensors weights, PEFT's config and the manifest, and nothing else."""
    side, final = run / f".{folder.ADAPTER}.{os.getpid()}", run / folder.ADAPTER
    # The config is part of the adapter's digest: a name instead of this machine's path, a list instead of a set.
    config: Any = model.peft_config["default"]
    config.base_model_name_or_path = spec.base_name
    if not isinstance(config.target_modules, str):  # a pattern, of an adapter from elsewhere
        config.target_modules = sorted(config.target_modules)
    try:
        model.save_pretrained(str(side), selected_adapters=["default"], save_embedding_layers=False)
        for file in side.iterdir():
            if file.name not in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
                file.unlink()  # PEFT's model card
        folder.write_json(side / folder.MANIFEST, _manifest(spec, rows, replay, step).model_dump())
        os.rename(side, final)
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return final


def _manifest(spec: TrainingSpec, rows: Rows, replay: Replayed | None, step: int | None) -> Manifest:
    base = Path(spec.base_model)
    return Manifest(
        kind=spec.kind,
        base_model=spec.base_name,
        base_sha256=fingerprint.base_sha256(base),
        template_sha256=fingerprint.template_sha256(base),
        train_sha256=spec.train_sha256,
        parent=spec.start_digest,
        job=spec.id,
        step=step,
        settings=spec.settings,
        processes=processes.count(),
        replay_rows=replay.rows if replay else 0,
        replay_sha256=replay.sha256 if replay else None,
        cases=rows.cases,
        cases_sha256=spec.cases_sha256,
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
        created_at=int(time.time()),
    )

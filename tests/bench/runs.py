"""Run folders as the worker writes them, and `python -m training` over one. Measures nothing."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.contract import folder
from service.contract.jobs import DpoHyperparameters, Hyperparameters, TrainingKind, TrainingSpec
from service.domain.hyperparameters import Bounds, Run, resolve
from service.settings import EMBEDDED
from tests.bench.places import ROOT, base_model

Row = dict[str, Any]


def write(
    run: Path, kind: TrainingKind, rows: Sequence[Row], *, held_out: Sequence[Row] = (), start: Path | None = None,
    threads: int | None = None, **hyperparameters: Any,
) -> TrainingSpec:  # fmt: skip
    """A run folder; numbers that are not given are those of a job that gives none. `start` is the run folder whose
    adapter the job goes on from."""
    run.mkdir(parents=True)
    digest = _write_rows(run / folder.TRAIN, rows)
    if held_out:
        _write_rows(run / folder.VALIDATION, held_out)
    base = base_model()
    width = json.loads((base / "config.json").read_text())["hidden_size"]
    given = (DpoHyperparameters if kind == "dpo" else Hyperparameters)(**hyperparameters)
    before = spec_of(start).settings if start else None
    asked = Run(kind, len(rows), len(held_out), Bounds(16, 2047, 1024, width), before)
    settings, _ = resolve(asked, given, seed=0)
    spec = TrainingSpec(
        kind=kind, id="ftjob-bench", base_model=str(base), base_name=EMBEDDED, train_sha256=digest,
        start_adapter=str(start / folder.ADAPTER) if start else None, settings=settings, threads=threads,
    )  # fmt: skip
    (run / folder.JOB).write_text(spec.model_dump_json())
    return spec


def spec_of(run: Path) -> TrainingSpec:
    return TrainingSpec.model_validate_json((run / folder.JOB).read_bytes())


def train(run: Path, name: str) -> float:
    """`python -m training` over the run folder, of which each minute tells; the seconds that it took."""
    began = time.monotonic()
    with open(run / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "training", str(run)], cwd=ROOT, stdout=log, stderr=log
        )
        over = threading.Event()
        threading.Thread(target=_tell, args=(run, name, over), daemon=True).start()
        try:
            process.wait()
        finally:
            over.set()
            process.kill()
    if not (run / folder.REPORT).exists():
        raise RuntimeError(f"training ended with {process.returncode}:\n{(run / 'log').read_text()[-2000:]}")
    return time.monotonic() - began


def _write_rows(path: Path, rows: Sequence[Row]) -> str:
    """Its SHA-256."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _tell(run: Path, name: str, over: threading.Event) -> None:
    while not over.wait(60):
        steps = [line for line in folder.read_lines(run / folder.PROGRESS) if line.get("step")]
        if steps:
            last = steps[-1]
            told = f"{name} step {last['step']} of {last['total_steps']}, about {last['seconds_left']} s left"
            print(told, file=sys.stderr, flush=True)

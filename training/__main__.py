"""The edge of a training run: `python -m training RUN_FOLDER`.

Reads `job.json`, trains, and leaves either `adapter/`, `proof.jsonl` and `report.json`, or `error.json` and
exit code 1. An adapter that was trained elsewhere is only asked (`proof`). Told to pause, a run ends after its present
step with exit code 75; however it was interrupted, it goes on from its newest checkpoint when it is started again.
SIGTERM ends it at once with exit code 143 and no report. With `--processes N` it becomes torch's launcher
(`training.launcher`), which starts it N times to train together (`training.processes`); asked to pause, these end with
exit code 0 and no report.
Sets the process up (no hub, no telemetry, thread count) before anything heavy is imported. With `--check` it looks
for faults and trains nothing; with `--check --quick` it does so without weights and leaves what it saw in
`estimate.json`. Knows no queue and no database.
"""

import argparse
import gc
import importlib
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.contract import folder
from service.contract.adapters import AdapterSpec
from service.contract.base import Wire
from service.contract.datasets import describe
from service.contract.jobs import RunError, TrainingSpec
from training import launcher, pause
from training.refusal import Left, Refused

OUTPUTS = (folder.PROGRESS, folder.ADAPTER, folder.PROMPTS, folder.PROOF, folder.REPORT, folder.ERROR)
STOPPED = 128 + signal.SIGTERM


class _Kind(Wire):
    """Of what a job's specification is."""

    kind: str


def main(arguments: list[str] | None = None) -> int:
    """Run one folder. Returns the exit code: 0 done, 1 refused or failed (`error.json` says why), 75 paused."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train one run folder.")
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER", help="holds job.json and train.jsonl")
    parser.add_argument("--check", action="store_true", help="look for faults, say them, and train nothing")
    parser.add_argument(
        "--quick", action="store_true", help=f"with --check: no weights; writes {folder.ESTIMATE}"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="so many train together")
    given = parser.parse_args(arguments)
    if given.quick and not given.check:
        parser.error("--quick goes with --check")
    if given.processes < 1 or (given.check and given.processes > 1):
        parser.error("--processes is 1 or more, and --check is made by one")
    run: Path = given.run.absolute()
    if not run.is_dir():
        print(f"{run} is not a folder. Name a run folder.", file=sys.stderr)  # noqa: T201  a command line
        return 1
    signal.signal(signal.SIGTERM, _stop)
    if given.check:
        return _look(run) if given.quick else _check(run)
    if given.processes > 1:
        launcher.become(run, given.processes)
    several = int(os.environ.get("WORLD_SIZE", 1))
    try:
        _work_together(run, several) if several > 1 else _work(run)
    except pause.Paused:
        pause.answered(run)
        return folder.PAUSED if several == 1 else 0  # to the launcher, any other code is a failure
    except Left as error:
        print(f"Another process of this run has ended: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except Refused as error:
        return _fail(run, error.error())
    except Exception as error:  # noqa: BLE001  the edge: whatever went wrong must reach the person who waits
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        message = f"Training failed ({what}). The run's log says more; mend it and start again."
        return _fail(run, RunError(code="training_failed", message=message))
    return 0


def _work(run: Path) -> None:
    _clear(run)
    spec = _read(run)
    set_up(spec.threads)
    if isinstance(spec, AdapterSpec):
        _imported("proof").prove(run, spec)
        return
    _imported("processes").take_device()
    _imported(spec.kind).train(run, spec)


def _work_together(run: Path, several: int) -> None:
    """One of several. The first one refuses alone, before it meets the others, so that what it says stays."""
    set_up(max(1, (os.cpu_count() or 1) // several))
    processes = _imported("processes")
    if os.environ["RANK"] == "0":
        _clear(run)
        processes.check(_read_training(run).settings, several)
    processes.join(run)
    spec = _read_training(run)
    if spec.threads:
        importlib.import_module("torch").set_num_threads(max(1, spec.threads // several))
    _imported(spec.kind).train(run, spec)


def set_up(threads: int | None) -> None:
    """Environment that torch, transformers, datasets and trl read while they are imported."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        TRANSFORMERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        TQDM_DISABLE="1",
        TOKENIZERS_PARALLELISM="false",
        # Threads that wait for the next matrix spin for a moment, then give the core away. Who spins has used up its
        # share when a neighbour wants the core, the engine for one, and each matrix waits for the scheduler: with
        # 100000 turns a step of eight short rows took 13 s beside one busy loop, with 1000 1.6 (alone 1.0 and 1.1).
        GOMP_SPINCOUNT="1000",
        KMP_BLOCKTIME="0",  # the same of Clang's, where our operations are compiled by it
    )
    if threads:
        os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))


def _read(run: Path) -> TrainingSpec | AdapterSpec:
    path = run / folder.JOB
    if not path.is_file():
        raise Refused("bad_job", f"{folder.JOB} is not in the run folder. Write it, then start again.")
    try:
        content = path.read_bytes()
        brought = _Kind.model_validate_json(content).kind == "import"
        return (AdapterSpec if brought else TrainingSpec).model_validate_json(content)
    except ValidationError as error:
        raise Refused("bad_job", f"{folder.JOB} cannot be used: {describe(error)}", folder.JOB) from None


def _read_training(run: Path) -> TrainingSpec:
    spec = _read(run)
    if isinstance(spec, AdapterSpec):
        raise Refused(
            "bad_job",
            "An adapter that was trained elsewhere has nothing to train. Run it by one process, without --check.",
        )
    return spec


def _imported(name: str) -> Any:
    """A module of this room, imported now: torch reads the environment when it is.

    Python's collector rests meanwhile: it would walk again and again through what is imported and stays, a fifth of the
    time (7.5 s of processor instead of 9.5).
    """
    gc.disable()
    try:
        return importlib.import_module(f"training.{name}")
    finally:
        gc.enable()


def _check(run: Path) -> int:
    """Everything that comes before the first step; nothing is written. Returns 0 when no fault was found."""
    try:
        spec = _read_training(run)
        set_up(spec.threads)
        method, progress = _imported(spec.kind), _imported("progress")
        _imported("steps").check(method.prepare(run, spec, progress.Spoken(run)), spec)
    except Refused as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)  # noqa: T201  a command line
        return 1
    print("No fault was found. The run can be started.")  # noqa: T201
    return 0


def _look(run: Path) -> int:
    """What can be seen in seconds. Returns 0 when `estimate.json` was written, whatever it says."""
    for name in (folder.ESTIMATE, folder.PROMPTS, folder.ERROR):
        (run / name).unlink(missing_ok=True)
    try:
        spec = _read_training(run)
        set_up(spec.threads)
        # transformers brings torch along wherever it finds it: two thirds of the time, and a tokenizer needs none.
        sys.modules.setdefault("torch", None)  # pyrefly: ignore[no-matching-overload]
        from training import estimates

        seen = estimates.look(run, spec)
    except Refused as error:
        folder.write_json(run / folder.ERROR, error.error().model_dump())
        print(f"{error.code}: {error.message}", file=sys.stderr)  # noqa: T201  a command line
        return 1
    folder.write_json(run / folder.ESTIMATE, seen.model_dump())
    for finding in seen.findings:
        print(f"{finding.code} ({finding.rows}): {finding.message}", file=sys.stderr)  # noqa: T201
    print(f"{len(seen.findings)} faults were found without weights. {folder.ESTIMATE} says more.")  # noqa: T201
    return 0


def _clear(run: Path) -> None:
    """Remove what an earlier attempt left, so that nothing of it can be taken for this one's; but its checkpoints."""
    for name in OUTPUTS:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _fail(run: Path, error: RunError) -> int:
    if (run / folder.ERROR).exists():
        return 1  # another process of this run has said why; what it left undone broke this one
    for place in (run / folder.ADAPTER, *run.glob(f"*{folder.CHECKPOINT}*")):
        shutil.rmtree(place, ignore_errors=True)
    folder.write_json(run / folder.ERROR, error.model_dump())
    print(f"{error.code}: {error.message}", file=sys.stderr)  # noqa: T201  a command line
    return 1


def _stop(*_: object) -> None:
    """SystemExit, so that side folders are removed on the way out."""
    sys.exit(STOPPED)


if __name__ == "__main__":
    sys.exit(main())

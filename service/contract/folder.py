"""The run folder: how the worker and a job's subprocess talk, and nothing else.

In goes `job.json` and the data it names; out come `progress.jsonl` while it runs and, last,
`report.json`, whose existence means done. A refusal is `error.json` and a non-zero exit.
A run that is asked to pause ends with a code of its own. Owns the file names and the atomic writes. Knows no
database and no HTTP.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JOB = "job.json"
TRAIN = "train.jsonl"
VALIDATION = "validation.jsonl"
CASES = "cases.jsonl"
LEARNED = "learned-{number}.jsonl"
"""The training files of what came before: of the adapters that a training goes on from, or of a candidate."""
PROGRESS = "progress.jsonl"
ADAPTER = "adapter"
MANIFEST = "manifest.json"
PROOF = "proof.jsonl"
REPLAY = "replay.jsonl"
"""The base model's answers to general questions: made once, so that a run that goes on replays the very same."""
ANSWERS = "answers.jsonl"
KNOWN = "known.jsonl"
REPORT = "report.json"
REPORT_PAGES = {"en": "report.html", "fr": "report.fr.html"}
"""The report for people, by the reader's language."""
ESTIMATE = "estimate.json"
PROMPTS = "prompts.jsonl"
"""A few prompts as the trainer reads them, for the engine to be asked for the same."""
ERROR = "error.json"
LOG = "log.txt"
CHECKPOINT = "checkpoint-"
"""How the folders begin that hold where a training run stands; the number of its step follows."""
PASS = "pass-"
"""How the folders begin that hold what a finished pass made: each a run folder's adapter, proof and report."""
PASSES = 3
"""So many finished passes of a job are kept, the newest."""
PAUSE = "pause"
"""An empty file that the worker writes: the run is to pause at the end of its present step."""
PAUSED = 75
"""Exit code of a run that did so (EX_TEMPFAIL of sysexits.h): started again, it goes on."""


def step(place: Path) -> int:
    """The step in the name of a folder of a `CHECKPOINT` or of a `PASS`."""
    return int(place.name.rpartition("-")[2])


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside `path`, fsync, rename: a reader sees the old file or the new one, never half."""
    data = content.encode() if isinstance(content, str) else content
    side = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(side, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line and flush it, so that a reader in another process sees it now."""
    with open(path, "a") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> Iterator[Any]:
    """Yield each complete JSON line; a line still being written is left for the next look."""
    if not path.exists():
        return
    with open(path) as file:
        for line in file:
            if line.endswith("\n") and line.strip():
                yield json.loads(line)

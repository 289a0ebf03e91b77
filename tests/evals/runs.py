"""Run folders and scoreboards for the tests of this room."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from evals.metrics import METRICS, Metric
from evals.scoring import Scoreboard
from service.contract.evaluations import Answer, Case, Contestant
from tests.evals.gateway import KEY

ROOT = Path(__file__).parents[2]
MODELS: dict[Contestant, str] = {"candidate": "desk@2", "live": "desk@1", "base": "base-model"}


def write_run(folder: Path, cases: list[dict[str, Any]], gateway: str, **spec: Any) -> Path:
    """A run folder as the worker writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases).encode()
    (folder / "cases.jsonl").write_bytes(content)
    job = {
        "id": "eval-1",
        "gateway": gateway,
        "assistant": "desk",
        "models": MODELS,
        "cases_sha256": hashlib.sha256(content).hexdigest(),
        **spec,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def start(folder: Path, key: str | None = KEY) -> subprocess.Popen[str]:
    """`python -m evals folder`, as the worker starts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAILORBIRD_")}
    if key:
        environment["TAILORBIRD_EVALUATION_KEY"] = key
    command = [sys.executable, "-m", "evals", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def run(folder: Path, key: str | None = KEY) -> tuple[int, str]:
    process = start(folder, key)
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def scoreboard(
    scores: dict[Contestant, list[float]],
    *,
    languages: list[str] | None = None,
    failed: dict[Contestant, list[int]] | None = None,
    adapters: dict[Contestant, str] | None = None,
) -> Scoreboard:
    """A board of one metric, fact recall, with these scores; `failed` names positions without an answer."""
    count = len(next(iter(scores.values())))
    tongues = languages or ["en"] * count
    cases = [
        Case(id=f"case-{at}", question=f"question {at}", facts=["fact"], language=tongues[at])
        for at in range(count)
    ]
    answers: dict[Contestant, list[Answer]] = {
        who: [
            _answer(who, at, value, who_failed=(failed or {}).get(who, []), adapters=adapters or {})
            for at, value in enumerate(theirs)
        ]
        for who, theirs in scores.items()
    }
    return Scoreboard(cases, answers, [fact_recall()])


def fact_recall() -> Metric:
    return next(metric for metric in METRICS if metric.name == "fact_recall")


def _answer(
    who: Contestant, at: int, value: float, *, who_failed: list[int], adapters: dict[Contestant, str]
) -> Answer:
    broken = at in who_failed
    return Answer(
        case=f"case-{at}",
        contestant=who,
        text="" if broken else "some answer",
        adapter=adapters.get(who, "base" if who == "base" else f"sha256-{who}"),
        error="no answer" if broken else None,
        scores={"fact_recall": 0.0 if broken else value},
    )

"""Rows that nobody here wrote, as a job learns from them: health questions and a bank's messages.

Owns the names of the two public data sets and where they are looked for. Measures nothing.
"""

import csv
import hashlib
import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from service.contract import folder
from service.contract.jobs import Hyperparameters, TrainingKind, TrainingSpec
from service.domain.hyperparameters import Run, resolve
from service.settings import EMBEDDED
from tests.bench.places import base_model

VARIABLE = "TAILORBIRD_REAL_DATA"
HEALTH, BANK, BANK_HELD_OUT = "medquad-niddk-cdc.jsonl", "banking77-train.csv", "banking77-test.csv"
"""MedQuAD (Ben Abacha and Demner-Fushman 2019) and BANKING77 (Casanueva et al. 2020), both CC BY 4.0."""
ASKED = "Name the intent of the customer's message."
"""What a model that learned the intents is told: it needs no list of them."""
Row = dict[str, Any]


def missing() -> str:
    """Why a story on real data cannot be measured here; empty where it can."""
    place = Path(os.environ.get(VARIABLE, ""))
    absent = [name for name in (HEALTH, BANK, BANK_HELD_OUT) if not (place / name).is_file()]
    if not os.environ.get(VARIABLE):
        return f"{VARIABLE} is not set; it names a folder with {HEALTH}, {BANK} and {BANK_HELD_OUT}"
    return f"{VARIABLE} names a folder without {', '.join(absent)}" if absent else ""


def health(longest: int) -> list[tuple[str, str]]:
    """(question, answer) in a drawn order, each question once, answers of at most so many characters."""
    with open(_place(HEALTH)) as file:
        rows = [json.loads(line) for line in file]
    answers = {row["question"].strip(): row["answer"].strip() for row in rows}
    fitting = [(asked, answer) for asked, answer in answers.items() if len(answer) <= longest]
    random.Random(0).shuffle(fitting)
    return fitting


def bank(name: str = BANK) -> list[tuple[str, str]]:
    """(message, intent) in a drawn order that begins with one message of each intent, then a second, and so on."""
    of_intent: dict[str, list[str]] = defaultdict(list)
    with open(_place(name), newline="") as file:
        for row in csv.DictReader(file):
            of_intent[row["category"]].append(row["text"].strip())
    draw = random.Random(0)
    ranked = []
    for intent in sorted(of_intent):
        draw.shuffle(of_intent[intent])
        ranked += [(rank, draw.random(), text, intent) for rank, text in enumerate(of_intent[intent])]
    return [(text, intent) for _, _, text, intent in sorted(ranked)]


def example(question: str, answer: str, instructions: str = "") -> Row:
    return {"messages": [*_asked(question, instructions), {"role": "assistant", "content": answer}]}


def pair(question: str, better: str, worse: str) -> Row:
    return {
        "input": {"messages": _asked(question, "")},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


def write_run(run: Path, kind: TrainingKind, rows: list[Row], **hyperparameters: Any) -> TrainingSpec:
    """A run folder as the worker writes it; numbers that are not given are those of a job that gives none."""
    run.mkdir(parents=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (run / folder.TRAIN).write_bytes(content)
    base = base_model()
    width = json.loads((base / "config.json").read_text())["hidden_size"]
    given = Hyperparameters(**hyperparameters)
    settings, _ = resolve(Run(kind, len(rows), 0, width), given, seed=0, max_length=1024)
    spec = TrainingSpec(
        kind=kind, id="ftjob-bench", base_model=str(base), base_name=EMBEDDED,
        train_sha256=hashlib.sha256(content).hexdigest(), settings=settings,
    )  # fmt: skip
    (run / folder.JOB).write_text(spec.model_dump_json())
    return spec


def _asked(question: str, instructions: str) -> list[Row]:
    told = [{"role": "system", "content": instructions}] if instructions else []
    return [*told, {"role": "user", "content": question}]


def _place(name: str) -> Path:
    return Path(os.environ[VARIABLE]) / name

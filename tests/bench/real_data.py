"""Rows that nobody here wrote, as a job learns from them: health questions and a bank's messages.

Owns the names of the two public data sets and where they are looked for. Measures nothing.
"""

import csv
import json
import os
import random
import re
import sys
from collections import defaultdict
from pathlib import Path

from tests.bench.runs import Row

VARIABLE = "TAILORBIRD_REAL_DATA"
HEALTH, BANK, BANK_HELD_OUT = "medquad-niddk-cdc.jsonl", "banking77-train.csv", "banking77-test.csv"
"""MedQuAD (Ben Abacha and Demner-Fushman 2019) and BANKING77 (Casanueva et al. 2020), both CC BY 4.0."""
ASKED = "Name the intent of the customer's message."
"""What a model that learned the intents is told: it needs no list of them."""


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


def openings(longest: int) -> list[tuple[str, str]]:
    """The same with the first sentences of each answer, as many as fit into so many characters; what opens with fewer
    than a third of them, or as another answer does, is left out."""
    found: dict[str, str] = {}
    for asked, answer in health(sys.maxsize):
        ends = [end.start() for end in re.finditer(r"(?<=[.!?])(?=\s|$)", answer)]
        end = max((end for end in ends if end <= longest), default=0)
        if 3 * end >= longest:
            found.setdefault(answer[:end], asked)
    return [(asked, opening) for opening, asked in found.items()]


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


def _asked(question: str, instructions: str) -> list[Row]:
    told = [{"role": "system", "content": instructions}] if instructions else []
    return [*told, {"role": "user", "content": question}]


def _place(name: str) -> Path:
    return Path(os.environ[VARIABLE]) / name

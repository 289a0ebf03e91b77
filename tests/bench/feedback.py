"""R7: a million pieces of feedback: sorting them, freezing them, and the screens' questions about them.

They are written straight into the database. Sorting and freezing each run in a process of their own, which tells its
time and its peak of memory. Then a gateway stands over the same database and is asked what the screens ask, while more
feedback keeps coming.
"""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from service.db import tables
from service.db.session import Database
from service.domain import datasets, keys, material
from service.domain.keys import Caller
from service.settings import Settings
from service.storage.local import Store
from tests.bench import added, places
from tests.bench.figures import Figure, of_rounds, percentile
from training.memory import peak

STORY = "R7"
EVENTS = 1_000_000
SHARES = (0.25, 1.0)
"""After so much of it, time and memory are taken down: the two are to grow as the events do, and not at all."""
ROUNDS, EACH, NEW = 5, 40, 5
"""Rounds of questions, questions of each kind in one, and new feedback between two of them."""
STEP = 30
"""Seconds between two pieces of feedback: a million of them are a year, which ends now."""
QUESTIONS = {
    "readiness": ("GET", "/api/assistants/desk/readiness"),
    "newest feedback": ("GET", "/api/feedback?assistant=desk&limit=50"),
    "datasets": ("GET", "/api/datasets?assistant=desk"),
    "timeline": ("GET", "/api/assistants/desk/timeline"),
    "next answer to review": ("POST", "/api/reviews/next"),
    "agreement of reviewers": ("GET", "/api/reviews/agreement"),
    "what was learnt of one person's": ("GET", "/api/feedback/learnt"),
}
"""What the studio, the reviewers' screen and the chat ask."""
ASSISTANT = """
INSERT INTO assistants (id, name, title, description, instructions, starters, languages, temperature, max_tokens,
                        created_at) VALUES ('asst_desk', 'desk', 'Desk', '', '', '[]', '["en"]', 0.2, 512, 1)
"""
PEOPLE = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
INSERT INTO users (id, name, role, active, created_at) SELECT 'user_' || i, 'Person ' || i, 'reviewer', 1, 1 FROM n
"""
ANSWERS = """
WITH RECURSIVE n(i) AS (SELECT :from UNION ALL SELECT i + 1 FROM n WHERE i < :to - 1)
INSERT INTO completions (id, user_id, key_id, conversation_id, channel, request_id, requested_model, assistant,
    adapter, base_model, instructions, messages, sampling, engine, status, output, finish_reason, created_at, kind,
    metadata)
SELECT 'chatcmpl-' || i, 'user_' || (i % 1000), 'key', 'conv_' || (i / 4), 'chat', 'req', 'desk', 'desk',
    CASE i % 3 WHEN 0 THEN 'base' ELSE 'tuned' END, 'base', '',
    json_array(json_object('role', 'user', 'content', printf('Question %d: ', i / 2 % 300000) || :text)),
    '{"temperature": 0.2}', 'vllm', CASE WHEN i % 50 = 0 THEN 'interrupted' ELSE 'complete' END,
    printf('Answer %d to question %d. ', i % 2, i / 2 % 300000) || :text,
    CASE WHEN i % 40 = 0 THEN 'length' ELSE 'stop' END, :began + i * :step, 'chat', '{}'
FROM n
"""
FEEDBACK = """
WITH RECURSIVE n(i) AS (SELECT :from UNION ALL SELECT i + 1 FROM n WHERE i < :to - 1)
INSERT INTO feedback (id, completion_id, user_id, key_id, assistant, type, rating, reasons, correction,
    preferred_completion_id, preference, supersedes, at)
SELECT 'fb_' || i, 'chatcmpl-' || CASE WHEN i % 20 = 19 THEN i - 1 ELSE i END, 'user_' || (i * 7 % 1000), 'key',
    'desk', CASE WHEN i % 20 = 19 THEN 'retraction' WHEN i % 20 < 9 THEN 'correction' WHEN i % 20 < 12 THEN 'preference'
    ELSE 'rating' END, CASE WHEN i % 20 BETWEEN 12 AND 18 THEN CASE WHEN i % 3 THEN 1 ELSE -1 END END, '[]',
    CASE WHEN i % 20 < 9 THEN printf('A better answer %d. ', i) || :text END,
    CASE WHEN i % 20 BETWEEN 9 AND 11 THEN 'chatcmpl-' || CASE WHEN i % 2 THEN i - 1 ELSE i + 1 END END,
    CASE WHEN i % 20 = 11 THEN 'tie' WHEN i % 20 BETWEEN 9 AND 10 THEN 'better' END,
    CASE WHEN i % 20 = 19 THEN 'fb_' || (i - 1) END, :began + i * :step
FROM n
"""

VERDICTS = """
WITH RECURSIVE n(i) AS (SELECT :from UNION ALL SELECT i + 125 FROM n WHERE i < :to - 125),
    by(second) AS (SELECT 0 UNION ALL SELECT 1)
INSERT INTO reviews (id, completion_id, assistant, user_id, key_id, verdict, why, rubric, personal_data, topic, at)
SELECT 'rev_' || i || '_' || second, 'chatcmpl-' || i, 'desk', 'user_' || ((i / 125 + second) % 10), 'key',
    CASE WHEN (i / 125 + second) % 7 THEN 'approve' ELSE 'reject' END, 'correction', '{}', 0,
    CASE WHEN i / 125 % 3 = 0 THEN 'topic ' || (i / 125 % 20) END, :began + i * :step + 1 + second
FROM n, by WHERE second = 0 OR i / 125 % 4 = 0
"""
"""Ten thousand of ten people, on eight thousand answers: one in four is judged by two, as the queue has it."""


async def measure(home: Path) -> list[Figure]:
    """Fills a home of its own; takes some minutes."""
    async with added.upstream(home) as engine, places.gateway(home, engine.url):
        pass  # the gateway has made the home
    began = time.time() - EVENTS * STEP
    fill(home / "tailorbird.db", 0, EVENTS, began, assistant=True)
    figures = await asyncio.to_thread(_apart, home, "sort")
    figures += await asyncio.to_thread(_apart, home, "freeze")
    async with added.upstream(home) as engine, places.gateway(home, engine.url) as gateway:
        headers = {"authorization": f"Bearer {await _key(home)}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60) as client:
            return figures + await _asked(client, home / "tailorbird.db", began)


def fill(path: Path, first: int, last: int, began: float, *, assistant: bool = False) -> None:
    """Feedback of every kind, and the answers it is about, by number; with the assistant, verdicts on some of them."""
    text = "The ferry to the northern island leaves at nine and takes bicycles and small carts. " * 2
    database = sqlite3.connect(path, timeout=60)
    with database:
        if assistant:
            database.execute(ASSISTANT)
            database.execute(PEOPLE)
        span = {"from": first, "to": last, "text": text, "began": began, "step": STEP}
        database.execute(ANSWERS, span)
        database.execute(FEEDBACK, span)
        if assistant:
            database.execute(VERDICTS, span)
    database.close()


def _apart(home: Path, part: str) -> list[Figure]:
    command = [sys.executable, "-m", "tests.bench.feedback", str(home), part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [
        Figure(STORY, what, value, value, value, 1, unit=unit, at_most=at_most)
        for what, value, unit, at_most in json.loads(done.stdout)
    ]


async def _key(home: Path) -> str:
    """A reviewer's who gave feedback too, as each of a thousand people did."""
    database, _ = _open(home)
    async with database.writing() as session:
        _, secret = await keys.create_key(
            session, keys.Hasher.of_home(home), user_id="user_5", kind="api", name="R7"
        )
    await database.close()
    return secret


async def _asked(client: httpx.AsyncClient, path: Path, began: float) -> list[Figure]:
    took: dict[str, list[list[float]]] = {name: [] for name in QUESTIONS}
    number = EVENTS
    for _ in range(ROUNDS):
        for name in QUESTIONS:
            took[name].append([])
        for _ in range(EACH):
            fill(path, number, number + NEW, began)
            number += NEW
            for name, (method, url) in QUESTIONS.items():
                asked = time.perf_counter()
                (await client.request(method, url)).raise_for_status()
                took[name][-1].append((time.perf_counter() - asked) * 1000)
    return [
        of_rounds(
            STORY, f"{name}, 95th percentile", [percentile(one, 0.95) for one in rounds], unit="ms", at_most=50,
            detail=f"median {percentile([value for one in rounds for value in one], 0.5):.1f} ms",
        )
        for name, rounds in took.items()
    ]  # fmt: skip


Told = list[tuple[str, float, str, float | None]]
"""What, value, unit, and what it may be at most."""
LINEAR, BOUNDED = 1.1, 1.2
"""How much longer the whole may take for one event than a quarter did, and how much more memory."""


async def sort(home: Path) -> Told:
    """Take everything in, as a gateway does that finds it."""
    database, store = _open(home)
    told: Told = [("memory before sorting", _peak(), "MB", None)]
    costs: list[tuple[float, float]] = []
    began, taken, stages = time.perf_counter(), 0, list(SHARES)
    while stages:
        async with database.writing() as session:
            await material.take_in(session, store, "desk")
        taken += material.SLICE
        if taken >= stages[0] * EVENTS:
            told.append((f"sorting {taken} events", time.perf_counter() - began, "s", None))
            told.append((f"processor time of that, {taken} events", time.process_time(), "s", None))
            told.append((f"peak memory after sorting {taken}", _peak(), "MB", None))
            costs.append((time.process_time() / taken, _peak()))
            print(told[-3:], file=sys.stderr, flush=True)
            stages.pop(0)
    await database.close()
    (part, part_peak), (whole, whole_peak) = costs
    told.append(("processor time for one event, all / a quarter of them", whole / part, "", LINEAR))
    told.append(("peak memory, all / a quarter of them", whole_peak / part_peak, "", BOUNDED))
    return told


async def freeze(home: Path) -> Told:
    """Make a dataset of each kind."""
    database, store = _open(home)
    told: Told = [("memory before freezing", _peak(), "MB", None)]
    for kind in ("dpo", "sft", "kto"):
        began = time.perf_counter()
        async with database.reading() as session:
            made = await datasets.draft(session, store, "desk", kind, split_by="conversation", share=0.5)
        drafted = time.perf_counter()
        async with database.writing() as session:
            one: Any = await session.get_one(tables.User, "user_0")
            dataset = await datasets.record(session, Caller(one.id, one.name, one.role, "key", "api"), made)
        rows = dataset.rows + dataset.held_out
        told.append((f"freezing {rows} rows for {kind}", drafted - began, "s", None))
        told.append(
            (f"writing {rows} rows of {kind} down, others wait", time.perf_counter() - drafted, "s", None)
        )
        told.append((f"peak memory after {kind}", _peak(), "MB", None))
        print(told[-3:], file=sys.stderr, flush=True)
    await database.close()
    return told


def _open(home: Path) -> tuple[Database, Store]:
    settings = Settings(home=home)
    return Database(settings.database), Store(home)


def _peak() -> float:
    return (peak() or 0) / 2**20


if __name__ == "__main__":
    print(json.dumps(asyncio.run({"sort": sort, "freeze": freeze}[sys.argv[2]](Path(sys.argv[1])))))

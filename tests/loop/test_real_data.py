"""Health questions with the answers of public institutes: data this product was not built around.

Runs where TAILORBIRD_REAL_DATA names a folder that holds `medquad-niddk-cdc.jsonl`.
"""

import hashlib
import json
import os
from pathlib import Path

import httpx
import pytest

from tests.loop.steps import answer, evaluated, finished, jsonl, release_of, sdk, upload
from tests.running import Running
from tests.waiting import wait_until

DATA = Path(os.environ.get("TAILORBIRD_REAL_DATA", "/nonexistent")) / "medquad-niddk-cdc.jsonl"
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not DATA.exists(), reason="TAILORBIRD_REAL_DATA names no folder with medquad-niddk-cdc.jsonl"
    ),
]


def test_medquad_is_imported_split_trained_evaluated_and_served(service: Running):
    client = sdk(service)
    found = [json.loads(line) for line in DATA.read_text().splitlines()]
    short = [row for row in found if len(row["answer"]) < 600]
    held_out = [row for row in short if hashlib.sha256(row["topic"].encode()).digest()[0] < 40]
    learned = [row for row in short if row not in held_out]
    assert not {row["topic"] for row in held_out} & {row["topic"] for row in learned}, "split by topic"

    with service.client() as http:
        whole = _read_in(http, found)
        assert whole["report"]["read"] == len(found)
        assert whole["report"]["taken"] + sum(whole["report"]["left_out"].values()) == len(found)
        assert client.files.retrieve(whole["file_id"]).status == "processed"
        cases = upload(client, [_case(row) for row in held_out[:8]], "evals")
        wanted = {
            "name": "health",
            "title": "Health",
            "temperature": 0,
            "max_tokens": 96,
            "cases_file": cases,
        }
        http.post("/api/assistants", json=wanted).raise_for_status()
        job = client.fine_tuning.jobs.create(
            model="health", training_file=_read_in(http, learned[:40])["file_id"],
            validation_file=upload(client, [_example(row) for row in held_out[8:16]]),
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
            metadata={"assistant": "health"},
        )  # fmt: skip
        done = finished(client, job.id)
        assert done.status == "succeeded", done.error
        metrics = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].metrics.model_dump()
        assert metrics["valid_loss"] < metrics["valid_loss_before"]
        release = release_of(http, "health", job.id)
        report = evaluated(http, release["id"])["report"]
        assert report["cases"] == 8
        assert all(score["failed"] == 0 for score in report["scores"])
        assert answer(client, "health@1", held_out[0]["question"])


def _read_in(http: httpx.Client, rows: list[dict]) -> dict:
    """The import of the rows as they come, with word of which columns hold question and answer."""
    brought = (
        http.post("/api/imports", files={"file": ("medquad.jsonl", jsonl(rows))}).raise_for_status().json()
    )
    plan = {"format": "columns", "mapping": {"prompt": "question", "completion": "answer"}}
    http.post(f"/api/imports/{brought['id']}/start", json=plan).raise_for_status()
    kept = {}
    wait_until(
        lambda: kept.update(_import(http, brought["id"])) or kept["status"] != "running", 180, "no end"
    )
    assert kept["status"] == "succeeded", kept["error"]
    return kept


def _import(http: httpx.Client, import_id: str) -> dict:
    return http.get(f"/api/imports/{import_id}").raise_for_status().json()


def _example(row: dict) -> dict:
    question, reply = (
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": row["answer"]},
    )
    return {"messages": [question, reply]}


def _case(row: dict) -> dict:
    return {"question": row["question"], "reference": row["answer"], "topic": row["type"]}

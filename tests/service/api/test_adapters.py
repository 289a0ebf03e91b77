"""Adapters that are brought from elsewhere, as an administrator meets them. No worker runs: jobs stay queued."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway import Gateway, running_gateway
from tests.service.api.test_releases import PROOF
from tests.service.storage.adapters import brought, lora, servable, settings


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, schema: Path) -> Iterator[Gateway]:
    """Over a base model of one layer."""
    base = servable(tmp_path_factory.mktemp("model")).base
    (base / "config.json").write_text("{}")
    with running_gateway(tmp_path_factory.mktemp("home"), schema, base_model=str(base)) as running:
        yield running


def put(gateway: Gateway, archive: Path) -> httpx.Response:
    form: Any = {"files": {"file": (archive.name, archive.read_bytes())}, "data": {"purpose": "adapter"}}
    return gateway.admin.post("/v1/files", **form)


def bring(gateway: Gateway, archive: Path, **more: Any) -> httpx.Response:
    file = put(gateway, archive).raise_for_status().json()["id"]
    return gateway.admin.post("/api/adapters", json={"file": file, **more})


def seen_to_serve(gateway: Gateway, made: dict[str, Any]) -> None:
    """What the worker writes when the job has ended well."""
    manifest = (gateway.settings.home / "adapters" / made["adapter"] / "manifest.json").read_text()
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db")) as database, database:
        database.execute(
            "update jobs set status = 'succeeded', adapter = ? where id = ?",
            (made["adapter"], made["job"]["id"]),
        )
        database.execute(
            "insert into adapters (digest, model, job_id, user_id, manifest, proof, report, bytes, created_at)"
            " select ?, ?, id, user_id, ?, ?, '{}', 1, 1 from jobs where id = ?",
            (
                made["adapter"],
                f"ft:base:{made['adapter'][:6]}",
                manifest,
                json.dumps(PROOF),
                made["job"]["id"],
            ),
        )


def test_a_good_adapter_is_kept_and_waits_to_be_proved(gateway: Gateway, tmp_path: Path):
    answer = bring(gateway, brought(tmp_path / "a.zip", readme=b"x"), assistant="fanal", suffix="bank")
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["already_here"], made["model"], made["release"], made["left_out"]) == (
        False,
        None,
        None,
        ["readme"],
    )
    kept = gateway.settings.home / "adapters" / made["adapter"]
    assert len(list(kept.iterdir())) == 3
    job = gateway.admin.get(f"/v1/fine_tuning/jobs/{made['job']['id']}").raise_for_status().json()
    assert (job["status"], job["method"]["type"], job["metadata"]) == (
        "queued",
        "import",
        {"assistant": "fanal"},
    )
    listed = gateway.admin.get("/v1/fine_tuning/jobs", params={"metadata[assistant]": "fanal"}).json()["data"]
    assert job["id"] in [one["id"] for one in listed]
    journal = gateway.admin.get("/api/audit", params={"action": "adapter.imported"}).json()["data"]
    assert made["adapter"] in [entry["subject"] for entry in journal]
    models = [one["id"] for one in gateway.admin.get("/v1/models").json()["data"]]
    assert not [name for name in models if name.startswith("ft:")], "nothing is served that was not proved"


def test_sent_again_it_makes_nothing_twice(gateway: Gateway, tmp_path: Path):
    weights = lora(number=b"\x00\x00\x80\x3f")
    first = bring(gateway, brought(tmp_path / "a.zip", weights=weights)).json()
    again = bring(gateway, brought(tmp_path / "b.zip", weights=weights)).json()
    assert (again["adapter"], again["job"]["id"]) == (first["adapter"], first["job"]["id"])
    seen_to_serve(gateway, first)
    here = bring(gateway, brought(tmp_path / "c.zip", weights=weights)).json()
    assert (here["already_here"], here["job"]) == (True, None)
    assert here["model"].startswith("ft:base:")
    offered = [bring(gateway, tmp_path / "a.zip", assistant="fanal").json()["release"] for _ in range(2)]
    assert offered[0] is not None
    assert offered[0] == offered[1]


def test_what_was_taken_along_is_known_when_it_comes_back(gateway: Gateway, tmp_path: Path):
    made = bring(gateway, brought(tmp_path / "a.zip", weights=lora(number=b"\x00\x00\x00\x40"))).json()
    seen_to_serve(gateway, made)
    exported = gateway.admin.get(f"/api/adapters/{made['adapter']}/files").raise_for_status()
    (tmp_path / "export.zip").write_bytes(exported.content)
    back = bring(gateway, tmp_path / "export.zip").json()
    assert (back["adapter"], back["already_here"], back["left_out"]) == (made["adapter"], True, ["README.md"])
    assert b"not known here" in exported.content
    assert b"brought from outside" in exported.content


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"config": settings(use_dora=True)}, {}, "is a DoRA"),
        ({"weights": lora(width=3)}, {}, "does not fit the base model"),
        ({"weights": lora(rank=32), "config": settings(r=32)}, {}, "TAILORBIRD_MAX_LORA_RANK"),
        ({"weights": lora(number=b"\x00\x00\xc0\x7f")}, {}, "not finite"),
        ({"config": settings(base_model_name_or_path="o/other")}, {}, "same_base_model"),
        ({}, {"assistant": "nobody"}, "No assistant 'nobody'"),
        ({}, {"suffix": "two words"}, "suffix"),
        ({}, {"prompts": ["x"] * 13}, "prompts"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_door_and_leaves_no_job(
    gateway: Gateway, tmp_path: Path, change: dict[str, Any], more: dict[str, Any], said: str
):
    before = gateway.admin.get("/v1/fine_tuning/jobs").json()["data"]
    answer = bring(gateway, brought(tmp_path / "a.zip", **change), **more)
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error"]["message"] + str(answer.json()["error"]["param"])
    assert gateway.admin.get("/v1/fine_tuning/jobs").json()["data"] == before
    assert list((gateway.settings.home / "incoming").iterdir()) == []


def test_what_is_no_adapter_is_refused_when_it_is_uploaded(gateway: Gateway, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n')
    answer = put(gateway, tmp_path / "rows.jsonl")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_file")
    rows: Any = {
        "files": {"file": ("a.jsonl", b'{"prompt": [], "completion": []}')},
        "data": {"purpose": "batch"},
    }
    file = gateway.admin.post("/v1/files", **rows).raise_for_status().json()["id"]
    answer = gateway.admin.post("/api/adapters", json={"file": file})
    assert "holds requests of a batch; this job needs an adapter" in answer.json()["error"]["message"]


def test_only_an_administrator_may_bring_one(gateway: Gateway, tmp_path: Path):
    file = put(gateway, brought(tmp_path / "a.zip")).json()["id"]
    for role in ("user", "reviewer"):
        with gateway.client_of("Rita", role) as client:
            assert client.post("/api/adapters", json={"file": file}).status_code == 403

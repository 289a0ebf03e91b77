"""A trial of a release, as applications and reviewers meet it."""

import json
import sqlite3

import httpx
import pytest

from tests.gateway import Gateway


@pytest.fixture(scope="module")
def gateway(own_gateway: Gateway) -> Gateway:
    """One of its own: rows are put into its database by hand."""
    return own_gateway


@pytest.fixture(scope="module")
def releases(gateway: Gateway) -> list[str]:
    """Two releases of the sample assistant, the first of them live; the engine's double has both adapters."""
    digests = ["a1" * 32, "a2" * 32]
    engine = gateway.admin.get("/api/status").json()["engines"][0]["url"]
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        (user_id,) = database.execute("select id from users").fetchone()
        for number, digest in enumerate(digests, 1):
            database.execute(
                "insert into jobs (id, kind, status, user_id, request, settings, model, attempts, cancel_requested,"
                " created_at) values (?, 'sft', 'succeeded', ?, '{}', '{}', 'base', 1, 0, 1)",
                (f"ftjob-{number}", user_id),
            )
            database.execute(
                "insert into adapters (digest, model, job_id, user_id, manifest, proof, report, bytes, created_at)"
                " values (?, ?, ?, ?, ?, '{}', '{}', 1, 1)",
                (digest, f"ft:b:{number}", f"ftjob-{number}", user_id, json.dumps({})),
            )
            database.execute(
                "insert into releases (id, assistant, number, adapter, created_at) values (?, 'fanal', ?, ?, 1)",
                (f"rel_{number}", number, digest),
            )
            folder = gateway.settings.home / "adapters" / digest
            folder.mkdir()
            (folder / "adapter_model.safetensors").touch()
            httpx.post(f"{engine}/v1/load_lora_adapter", json={"lora_name": digest, "lora_path": "x"})
    gateway.admin.post(
        "/api/releases/rel_1/promote", json={"override_reason": "it is a test"}
    ).raise_for_status()
    return ["rel_1", "rel_2"]


def answering(gateway: Gateway, **more: str) -> str:
    body = {"model": "fanal", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **more}
    answer = gateway.admin.post("/v1/chat/completions", json=body).raise_for_status()
    return answer.headers["x-tailorbird-release"]


def stage(gateway: Gateway, share: int) -> httpx.Response:
    wanted = {"share": share, "override_reason": "it is a test"}
    return gateway.admin.post("/api/releases/rel_2/stage", json=wanted)


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_an_applications_customers_are_told_apart_and_each_stays_with_one_release(
    gateway: Gateway, releases: list[str], name: str
):
    assert answering(gateway) == "fanal@1"
    stage(gateway, 50).raise_for_status()
    first, again = [[answering(gateway, **{name: f"c{n}"}) for n in range(12)] for _ in range(2)]
    assert first == again
    assert set(first) == {"fanal@1", "fanal@2"}
    stage(gateway, 0).raise_for_status()
    assert {answering(gateway, **{name: f"c{n}"}) for n in range(12)} == {"fanal@1"}


def test_a_trial_is_for_reviewers_and_shares_are_checked(gateway: Gateway, releases: list[str]):
    with gateway.client_of("Trudy") as user:
        assert user.post("/api/releases/rel_2/stage", json={"share": 5}).status_code == 403
        assert user.get("/api/assistants/fanal/trial").status_code == 403
    for share in (-1, 100):
        assert stage(gateway, share).status_code == 400
    assert stage(gateway, 0).status_code == 409
    assert gateway.admin.get("/api/assistants/fanal/trial").status_code == 404

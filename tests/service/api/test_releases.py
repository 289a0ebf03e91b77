"""A trial of a release, as applications and reviewers meet it, and adapters that are taken along."""

import hashlib
import io
import json
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from service.contract.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_sha256
from tests.gateway import Gateway
from tests.service.storage.adapters import adapter
from tests.waiting import wait_until

MANIFEST = {
    "kind": "sft", "base_model": "b", "base_sha256": "b5" * 32, "template_sha256": "7e" * 32, "train_sha256": "da" * 32,
    "parent": None, "job": "ftjob-1", "settings": {"n_epochs": 1, "batch_size": 4, "learning_rate": 1e-4},
    "versions": {"peft": "1"}, "created_at": 1,
}  # fmt: skip
PROOF = {
    "cases": 1, "tokens": 9, "same_prompt_tokens": True, "distance_to_trainer": 0.01, "distance_to_base": 1.0,
    "noise": 0.01, "tolerance": 0.15, "outputs_changed": 1, "engine": "vllm 1",
}  # fmt: skip


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
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                (folder / name).write_text("{}")
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


def test_a_report_is_read_in_the_language_asked_for_and_in_english_where_there_is_no_other(
    gateway: Gateway, releases: list[str]
):
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        database.execute(
            "insert into evaluations (id, job_id, assistant, release_id, cases_file, report, created_at)"
            " values ('eval_1', 'ftjob-1', 'fanal', 'rel_1', 'file-1', '{}', 1)"
        )
    place, path = gateway.settings.home / "jobs" / "ftjob-1", "/api/evaluations/eval_1/report"
    place.mkdir(parents=True)
    (place / "report.html").write_text("Better")
    assert [gateway.admin.get(path, params={"lang": one}).text for one in ("en", "fr")] == ["Better"] * 2
    (place / "report.fr.html").write_text("Meilleure")
    assert [gateway.admin.get(path, params=more).text for more in ({}, {"lang": "fr"})] == [
        "Better",
        "Meilleure",
    ]
    assert gateway.admin.get(path, params={"lang": "de"}).status_code == 400
    with gateway.client_of("Trudy") as user:
        assert user.get(path).status_code == 403


@pytest.mark.parametrize("name", [ADAPTER_CONFIG, ADAPTER_WEIGHTS])
def test_a_release_whose_files_are_gone_is_refused_at_the_next_request_and_the_others_are_answered(
    gateway: Gateway, releases: list[str], name: str
):
    """vLLM dies of a file that it does not find again, so nobody may wait for the next look at the store."""
    body = {"model": "fanal@2", "messages": [{"role": "user", "content": "x"}]}
    file, before = gateway.settings.home / "adapters" / ("a2" * 32) / name, len(gateway.engine_bodies)
    file.rename(file.with_suffix(".aside"))
    try:
        refused = [
            gateway.admin.post("/v1/chat/completions", json=body | {"stream": stream})
            for stream in (True, False)
        ]
        assert [one.status_code for one in refused] == [502, 502]
        assert len(gateway.engine_bodies) == before
        error = refused[0].json()["error"]
        assert (error["code"], refused[0].headers["x-should-retry"]) == ("files_gone", "false")
        assert "Its files are gone from the store. Put them back" in error["message"]
        assert answering(gateway) == "fanal@1"
    finally:
        file.with_suffix(".aside").rename(file)
    # A look at the store while they were away has it refused until the next look, a second later.
    wait_until(lambda: gateway.admin.post("/v1/chat/completions", json=body).status_code == 200)
    assert answering(gateway, model="fanal@2") == "fanal@2"


@pytest.fixture
def tuned(gateway: Gateway, releases: list[str], tmp_path: Path) -> tuple[str, httpx.Client]:
    """A tuned model of somebody new, a plain user, its files in the store: its digest, and the user's client."""
    owner = gateway.client_of("Tara")
    name = owner.get("/api/me").json()["name"]
    manifest = MANIFEST | {"train_sha256": hashlib.sha256(name.encode()).hexdigest()}
    place = adapter(tmp_path / "adapter", manifest=manifest)
    digest = adapter_sha256(place)
    shutil.copytree(place, gateway.settings.home / "adapters" / digest)
    with closing(sqlite3.connect(gateway.settings.home / "tailorbird.db")) as database, database:
        (user_id,) = database.execute("select id from users where name = ?", (name,)).fetchone()
        database.execute(
            "insert into adapters (digest, model, job_id, user_id, manifest, proof, report, bytes, created_at)"
            " values (?, ?, 'ftjob-1', ?, ?, ?, '{}', 1, 1)",
            (digest, model_of(owner), user_id, json.dumps(manifest), json.dumps(PROOF)),
        )
    return digest, owner


def model_of(owner: httpx.Client) -> str:
    return "ft:b:" + owner.get("/api/me").json()["name"].lower().replace(" ", "-")


def taken(gateway: Gateway) -> list[dict]:
    found = gateway.admin.get("/api/audit", params={"action": "adapter.exported"}).raise_for_status()
    return found.json()["data"]


def test_who_tuned_a_model_takes_its_files_along_exactly_as_they_are_kept(
    gateway: Gateway, tuned: tuple[str, httpx.Client]
):
    digest, owner = tuned
    answer = owner.get(f"/api/adapters/{digest}/files").raise_for_status()
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{digest[:12]}.zip"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        for path in (gateway.settings.home / "adapters" / digest).iterdir():
            assert found.read(path.name) == path.read_bytes()
        card = found.read("README.md").decode()
    assert f"`{digest}`" in card
    assert "Its licence is not known here" in card, (
        "the manifest names another base model than the embedded one"
    )
    newest = taken(gateway)[0]
    me = owner.get("/api/me").json()["name"]
    assert (newest["subject"], newest["detail"], newest["by"]) == (digest, {"name": model_of(owner)}, me)


def test_reviewers_take_any_adapter_along_and_others_do_not_even_find_it(
    gateway: Gateway, tuned: tuple[str, httpx.Client]
):
    digest, _ = tuned
    before = len(taken(gateway))
    assert gateway.client_of("Otto").get(f"/api/adapters/{digest}/files").status_code == 404
    assert httpx.get(f"{gateway.url}/api/adapters/{digest}/files").status_code == 401
    assert len(taken(gateway)) == before
    assert gateway.client_of("Rita", "reviewer").get(f"/api/adapters/{digest}/files").status_code == 200
    assert len(taken(gateway)) == before + 1


def test_what_is_not_there_is_refused_and_not_noted(gateway: Gateway, tuned: tuple[str, httpx.Client]):
    before = len(taken(gateway))
    digest, owner = tuned
    for name in ("none", "..%2F..%2Fpepper", "ab" * 32):
        assert gateway.admin.get(f"/api/adapters/{name}/files").status_code == 404
    owner.delete(f"/v1/models/{model_of(owner)}").raise_for_status()
    refused = gateway.admin.get(f"/api/adapters/{digest}/files")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_deleted")
    assert len(taken(gateway)) == before

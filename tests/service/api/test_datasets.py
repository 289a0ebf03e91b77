"""Readiness, rounds and lineage over HTTP: what holds a round, who may start it all the same, who sees what."""

import json

import openai
import pytest

from tests.gateway import Gateway
from tests.service.api.test_imports import bring, jsonl, read_in

NAME = "longwinded"
REASON = "The corrections are longer on purpose."


@pytest.fixture(scope="module")
def corrected(gateway: Gateway) -> list[str]:
    """An assistant whose corrections are much longer than its answers."""
    gateway.admin.post("/api/assistants", json={"name": NAME, "title": "Long"}).raise_for_status()
    given = []
    for number in range(22):
        body = {"model": NAME, "messages": [{"role": "user", "content": f"question {number}"}]}
        answer = gateway.admin.post("/v1/chat/completions", json=body).raise_for_status().json()
        text = f"{number} " + answer["choices"][0]["message"]["content"] * 5
        said = {"completion_id": answer["id"], "type": "correction", "correction": text}
        given.append(gateway.admin.post("/api/feedback", json=said).raise_for_status().json()["id"])
    return given


def frozen(gateway: Gateway) -> list[dict]:
    return gateway.admin.get("/api/datasets", params={"assistant": NAME}).raise_for_status().json()["data"]


def test_readiness_tells_what_the_feedback_is_worth(gateway: Gateway, corrected: list[str]):
    ready = gateway.admin.get(f"/api/assistants/{NAME}/readiness").raise_for_status().json()
    signal = ready["signals"]["dpo"]
    assert (ready["pairs"], ready["ready"], signal["verdict"]) == (22, False, "bad")
    assert signal["length_ratio"] > 3
    assert {finding["code"]: finding["blocks"] for finding in signal["findings"]} == {
        "one_person": False, "longer_answers": True,
    }  # fmt: skip
    assert "times as long" in ready["advice"]
    assert ready["signals"]["sft"]["verdict"] == "weak"


def test_a_round_on_a_bad_signal_is_held_until_a_reviewer_gives_a_reason(
    gateway: Gateway, corrected: list[str]
):
    before = frozen(gateway)
    held = gateway.admin.post("/api/rounds", json={"assistant": NAME})
    assert (held.status_code, held.json()["error"]["code"]) == (409, "round_held")
    assert frozen(gateway) == before
    short = gateway.admin.post("/api/rounds", json={"assistant": NAME, "override_reason": "go"})
    assert short.status_code == 400
    started = gateway.admin.post("/api/rounds", json={"assistant": NAME, "override_reason": REASON}).json()
    assert started["job"]["metadata"]["override_reason"] == REASON
    assert started["dataset"]["signal"]["verdict"] == "bad"
    events = gateway.admin.get(f"/v1/fine_tuning/jobs/{started['job']['id']}/events").json()["data"]
    assert f"admin started it all the same: {REASON}" in [event["message"] for event in events]
    (longer,) = [event["data"] for event in events if event["data"].get("finding") == "longer_answers"]
    assert longer["code"] == "round_finding"
    assert longer["ratio"] > 3
    (override,) = [event["data"] for event in events if event["data"].get("code") == "round_override"]
    assert (override["name"], override["reason"]) == ("admin", REASON)
    gateway.admin.post(f"/v1/fine_tuning/jobs/{started['job']['id']}/cancel").raise_for_status()


def uploaded_again(gateway: Gateway, file_id: str) -> str:
    content = gateway.admin.get(f"/v1/files/{file_id}/content").content
    form = {"files": {"file": ("again.jsonl", content)}, "data": {"purpose": "fine-tune"}}
    return gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]


def test_a_job_on_frozen_feedback_is_held_as_its_round_is_and_started_by_the_same_reason(
    gateway: Gateway, corrected: list[str]
):
    made = gateway.admin.post("/api/datasets", json={"assistant": NAME, "kind": "dpo"}).json()
    again, held_out = (uploaded_again(gateway, made[file]) for file in ("training_file", "validation_file"))
    job = {"model": NAME, "method": {"type": "dpo"}}
    for file in (made["training_file"], again, held_out):
        held = gateway.admin.post("/v1/fine_tuning/jobs", json=job | {"training_file": file})
        assert (held.status_code, held.json()["error"]["code"]) == (409, "round_held")
    job["training_file"] = again
    short = gateway.admin.post("/v1/fine_tuning/jobs", json=job | {"metadata": {"override_reason": "go"}})
    assert (short.status_code, short.json()["error"]["param"]) == (400, "metadata")
    wanted = job | {"metadata": {"override_reason": REASON}}
    started = gateway.admin.post("/v1/fine_tuning/jobs", json=wanted).raise_for_status().json()
    events = gateway.admin.get(f"/v1/fine_tuning/jobs/{started['id']}/events").json()["data"]
    assert f"admin started it all the same: {REASON}" in [event["message"] for event in events]
    (noted,) = (
        entry
        for entry in gateway.admin.get("/api/audit", params={"action": "round.started"}).json()["data"]
        if entry["subject"] == started["id"]
    )
    assert noted["detail"] == {"assistant": NAME, "override_reason": REASON}
    gateway.admin.post(f"/v1/fine_tuning/jobs/{started['id']}/cancel").raise_for_status()


@pytest.mark.heavy
def test_a_changed_dataset_is_held_and_leads_back_to_its_feedback_by_whatever_door_it_comes(
    gateway: Gateway, corrected: list[str]
):
    made = gateway.admin.post("/api/datasets", json={"assistant": NAME, "kind": "dpo"}).json()
    content = gateway.admin.get(f"/v1/files/{made['training_file']}/content").content
    rows = [json.loads(line) for line in content.splitlines()][1:]
    changed = jsonl(rows)
    form = {"files": {"file": ("mended.jsonl", changed)}, "data": {"purpose": "fine-tune"}}
    sent = gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        parts = client.uploads.upload_file_chunked(
            file=changed, filename="mended.jsonl", bytes=len(changed), purpose="fine-tune",
            mime_type="text/jsonl", part_size=4000,
        )  # fmt: skip
    assert parts.file is not None
    read = read_in(gateway.admin, bring(gateway.admin, "mended.jsonl", changed).json()["id"], split_by="auto")
    assert read["held_out_file_id"], read
    for file in (sent, parts.file.id, read["file_id"]):
        job = {"model": NAME, "method": {"type": "dpo"}, "training_file": file}
        held = gateway.admin.post("/v1/fine_tuning/jobs", json=job)
        assert (held.status_code, held.json()["error"]["code"]) == (409, "round_held")
    parted = gateway.admin.post(f"/api/splits/{sent}").raise_for_status().json()
    job = {"model": NAME, "method": {"type": "dpo"}, "training_file": parted["training_file"]["id"]}
    held = gateway.admin.post("/v1/fine_tuning/jobs", json=job)
    assert (held.status_code, held.json()["error"]["code"]) == (409, "round_held"), (
        "its parts are no way around"
    )
    whole = gateway.admin.post(f"/api/splits/{made['training_file']}")
    assert (whole.status_code, whole.json()["error"]["code"]) == (400, "frozen_file")
    job |= {"metadata": {"override_reason": REASON}}
    job |= {"training_file": read["file_id"], "validation_file": read["held_out_file_id"]}
    started = gateway.admin.post("/v1/fine_tuning/jobs", json=job).raise_for_status().json()
    learned: list[bool] = []
    for row in rows:
        given = row["tailorbird"]["feedback_id"]
        uses = gateway.admin.get(f"/api/feedback/{given}/lineage").raise_for_status().json()["jobs"]
        learned += [use["learned"] for use in uses if use["id"] == started["id"]]
    assert len(learned) == len(rows)
    assert sum(learned) == read["report"]["split"]["training"]["rows"]
    gateway.admin.post(f"/v1/fine_tuning/jobs/{started['id']}/cancel").raise_for_status()


@pytest.mark.heavy
def test_the_sheet_of_a_dataset_names_it(gateway: Gateway, corrected: list[str]):
    made = gateway.admin.post("/api/datasets", json={"assistant": NAME, "kind": "dpo"}).json()
    for file in (made["training_file"], made["validation_file"]):
        sheet = gateway.admin.post(f"/api/sheets/{file}").raise_for_status().json()
        assert sheet["frozen"] == {"id": made["id"], "assistant": NAME, "number": made["number"]}
        assert sheet["kind"] == "dpo"


def test_learning_the_corrections_as_examples_is_not_held_by_their_length(
    gateway: Gateway, corrected: list[str]
):
    started = (
        gateway.admin.post("/api/rounds", json={"assistant": NAME, "method": "sft"}).raise_for_status().json()
    )
    assert "override_reason" not in started["job"]["metadata"]
    gateway.admin.post(f"/v1/fine_tuning/jobs/{started['job']['id']}/cancel").raise_for_status()


def test_lineage_leads_from_feedback_to_its_dataset_and_back(gateway: Gateway, corrected: list[str]):
    dataset = (
        gateway.admin.post("/api/datasets", json={"assistant": NAME, "kind": "sft"}).raise_for_status().json()
    )
    onward = gateway.admin.get(f"/api/feedback/{corrected[0]}/lineage").raise_for_status().json()
    assert dataset["id"] in [use["id"] for use in onward["datasets"]]
    back = gateway.admin.get(f"/api/datasets/{dataset['id']}/lineage", params={"limit": 1000}).json()
    assert sorted(back["feedback"]) == sorted(corrected)
    assert back["people"] == [
        {"person": onward["people"][0]["person"], "rows": dataset["rows"], "held_out": dataset["held_out"]}
    ]


def test_a_user_sees_the_lineage_of_their_own_feedback_only(gateway: Gateway, corrected: list[str]):
    with gateway.client_of("Lina") as user:
        body = {"model": NAME, "messages": [{"role": "user", "content": "mine"}]}
        answer = user.post("/v1/chat/completions", json=body).json()["id"]
        said = {"completion_id": answer, "type": "rating", "rating": 1}
        own = user.post("/api/feedback", json=said).json()["id"]
        assert user.get(f"/api/feedback/{own}/lineage").json()["datasets"] == []
        assert user.get(f"/api/feedback/{corrected[0]}/lineage").status_code == 404
        for path in ("datasets/ds_x", "adapters/" + "0" * 64, "releases/rel_x"):
            assert user.get(f"/api/{path}/lineage").status_code == 403
            assert gateway.admin.get(f"/api/{path}/lineage").status_code == 404

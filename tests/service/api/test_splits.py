"""A file in two: by the API, and by an import."""

import json
from typing import Any

import httpx
import pytest

from tests.gateway import Gateway
from tests.service.api.test_imports import asked, bring, jsonl, read_in

pytestmark = pytest.mark.heavy


def rows(client: httpx.Client, file_id: str) -> list[dict[str, Any]]:
    content = client.get(f"/v1/files/{file_id}/content").raise_for_status().content
    return [json.loads(line) for line in content.splitlines()]


def uploaded(gateway: Gateway, name: str, **more: Any) -> dict[str, Any]:
    examples = [
        {
            "messages": [{"role": "user", "content": f"{name} {n}?"}, {"role": "assistant", "content": "a"}],
            "page": f"p{n // 2}", **more,
        }
        for n in range(60)
    ]  # fmt: skip
    form = {"files": {"file": (f"{name}.jsonl", jsonl(examples))}, "data": {"purpose": "fine-tune"}}
    return gateway.admin.post("/v1/files", **form).raise_for_status().json()


def test_an_uploaded_file_is_parted_once_and_a_job_is_measured_on_the_part_that_is_held_out(gateway: Gateway):
    file = uploaded(gateway, "mast")
    path = f"/api/splits/{file['id']}"
    made = gateway.admin.post(path).raise_for_status().json()
    training, held_out = made["training_file"], made["held_out_file"]
    assert training["rows"] + held_out["rows"] == 60
    assert held_out["rows"] > 2
    assert (held_out["parted"]["of"], held_out["parted"]["by"], training["parted"]) == (
        training["id"],
        "question",
        None,
    )
    both = rows(gateway.admin, training["id"]) + rows(gateway.admin, held_out["id"])
    key = json.dumps
    assert sorted(both, key=key) == sorted(rows(gateway.admin, file["id"]), key=key)
    assert gateway.admin.post(path, json={"by": "auto"}).json() == made
    again = uploaded(gateway, "mast")
    assert gateway.admin.post(f"/api/splits/{again['id']}").json() == made
    body = {"model": "fanal", "training_file": training["id"], "validation_file": held_out["id"]}
    job = gateway.admin.post("/v1/fine_tuning/jobs", json=body)
    assert job.status_code == 200, job.text
    for path_of_job in ("/v1/fine_tuning/jobs", "/api/estimates"):
        refused = gateway.admin.post(path_of_job, json={"model": "fanal", "training_file": held_out["id"]})
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["code"]) == (400, "training_file", "held_out_file")
        assert "Train on that one, and give this one as 'validation_file'" in error["message"]
    gateway.admin.delete(f"/v1/files/{held_out['id']}").raise_for_status()
    assert gateway.admin.post(path).json()["held_out_file"]["id"] != held_out["id"]


def test_a_column_of_an_uploaded_file_keeps_each_document_on_one_side(gateway: Gateway):
    file = uploaded(gateway, "keel")
    made = gateway.admin.post(f"/api/splits/{file['id']}", json={"by": "document", "column": "page"}).json()
    assert (made["held_out_file"]["parted"]["by"], made["held_out_file"]["parted"]["column"]) == (
        "document",
        "page",
    )
    sides = [
        {row["page"] for row in rows(gateway.admin, made[name]["id"])} for name in made if "file" in name
    ]
    assert not sides[0] & sides[1]


def test_what_cannot_be_parted_is_refused_with_its_reason(gateway: Gateway):
    file = uploaded(gateway, "helm")
    path = f"/api/splits/{file['id']}"
    for body, code in (
        ({"by": "person"}, "no_unit"),
        ({"by": "document", "column": "nowhere"}, "no_unit"),
        ({"by": "question", "column": "page"}, None),
    ):
        answer = gateway.admin.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "by"), answer.text
        assert code in (None, answer.json()["error"]["code"])
    same = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}] * 30
    form = {"files": {"file": ("same.jsonl", jsonl(same))}, "data": {"purpose": "fine-tune"}}
    whole = gateway.admin.post("/v1/files", **form).json()["id"]
    assert gateway.admin.post(f"/api/splits/{whole}").json()["error"]["code"] == "nothing_held_out"
    held_out = gateway.admin.post(path).json()["held_out_file"]["id"]
    assert gateway.admin.post(f"/api/splits/{held_out}").json()["error"]["code"] == "held_out_file"
    with gateway.client_of("Parter") as user:
        assert user.post(path).status_code == 404


def test_an_import_holds_rows_out_in_a_file_beside_the_one_that_is_learnt_from(gateway: Gateway):
    brought = bring(gateway.admin, "oars.jsonl", jsonl(asked("oar", 80))).json()
    assert (brought["preview"]["split_by"], brought["held_out_file_id"]) == ("question", None)
    done = read_in(gateway.admin, brought["id"], split_by="auto")
    assert done["status"] == "succeeded", done["error"]
    split = done["report"]["split"]
    training, held_out = (
        gateway.admin.get(f"/v1/files/{done[name]}").raise_for_status().json()
        for name in ("file_id", "held_out_file_id")
    )
    assert (training["rows"], held_out["rows"]) == (split["training"]["rows"], split["held_out"]["rows"])
    assert training["rows"] + held_out["rows"] == done["report"]["taken"] == 80
    assert (held_out["parted"]["of"], held_out["parted"]["by"]) == (training["id"], "question")
    questions = [
        {row["messages"][0]["content"] for row in rows(gateway.admin, one["id"])}
        for one in (training, held_out)
    ]
    assert not questions[0] & questions[1]
    assert gateway.admin.get(f"/api/sheets/{training['id']}").json()["rows"] == training["rows"]

import json

import httpx
import pytest

from tests.gateway import Gateway


def entries(gateway: Gateway, **query) -> list[dict]:
    return gateway.admin.get("/api/audit", params=query).raise_for_status().json()["data"]


def test_every_act_of_power_stands_in_the_journal_with_who_did_it(gateway: Gateway):
    admin = gateway.admin
    user = admin.post("/api/users", json={"name": "Journal", "role": "user"}).raise_for_status().json()
    admin.patch(f"/api/users/{user['id']}", json={"role": "reviewer"}).raise_for_status()
    admin.post(f"/api/users/{user['id']}/link").raise_for_status()
    made = admin.post(
        "/api/keys", json={"name": "till", "role": "user", "limits": {"tokens_per_day": 5}}
    ).json()
    key = made["key"]["id"]
    admin.patch(f"/api/keys/{key}", json={"limits": {"tokens_per_day": None}}).raise_for_status()
    admin.delete(f"/api/keys/{key}").raise_for_status()
    admin.post("/api/assistants", json={"name": "journal", "title": "J"}).raise_for_status()
    admin.patch("/api/assistants/journal", json={"temperature": 0.5}).raise_for_status()
    found = {(entry["action"], entry["subject"]): entry for entry in entries(gateway, limit=20)}
    expected = {
        ("user.created", user["id"]): {"name": "Journal", "role": "user"},
        ("user.changed", user["id"]): {"name": "Journal", "role": "reviewer"},
        ("link.made", user["id"]): {"name": "Journal"},
        ("key.made", key): {"name": "till", "role": "user", "limits": {"tokens_per_day": 5}},
        ("key.changed", key): {"name": "till", "limits": {"tokens_per_day": None}},
        ("key.revoked", key): {},
        ("assistant.created", "journal"): {"title": "J"},
        ("assistant.changed", "journal"): {"temperature": 0.5},
    }
    assert {act: found[act]["detail"] for act in expected} == expected
    me = admin.get("/api/me").json()["name"]
    assert {found[act]["by"] for act in expected} == {me}


def test_a_reviewer_leaves_others_files_and_batches_alone_and_an_administrators_hand_on_them_is_noted(
    gateway: Gateway,
):
    owner, reviewer = gateway.client_of("Owner"), gateway.client_of("Onlooker", "reviewer")
    ask = {"model": "fanal", "messages": [{"role": "user", "content": "HANG"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": ask}
    form = {"files": {"file": ("b.jsonl", json.dumps(line).encode())}, "data": {"purpose": "batch"}}
    for alone in (True, False):
        file = owner.post("/v1/files", **form).json()["id"]
        wanted = {"input_file_id": file, "endpoint": line["url"], "completion_window": "24h"}
        batch = owner.post("/v1/batches", json=wanted).json()["id"]
        before = entries(gateway, limit=1)
        for act in (("POST", f"/v1/batches/{batch}/cancel"), ("DELETE", f"/v1/files/{file}")):
            assert reviewer.request(*act).status_code == 403
            assert (owner if alone else gateway.admin).request(*act).status_code == 200
        if alone:
            assert entries(gateway, limit=1) == before, "what is one's own is nobody's business"
    noted = [
        (entry["action"], entry["subject"], entry["detail"]["of"]) for entry in entries(gateway, limit=2)
    ]
    of = owner.get("/api/me").json()["id"]
    assert noted == [("file.deleted", file, of), ("batch.cancelled", batch, of)]


def test_a_training_on_a_file_is_noted_with_the_file(gateway: Gateway):
    rows = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    form = {"files": {"file": ("r.jsonl", f"{rows}\n" * 4)}, "data": {"purpose": "fine-tune"}}
    file = gateway.admin.post("/v1/files", **form).raise_for_status().json()["id"]
    wanted = {"model": "smollm2-135m-instruct", "training_file": file}
    job = gateway.admin.post("/v1/fine_tuning/jobs", json=wanted).raise_for_status().json()["id"]
    gateway.admin.post(f"/v1/fine_tuning/jobs/{job}/cancel").raise_for_status()
    cancelled, started = entries(gateway, limit=2)
    assert (started["action"], started["subject"], started["detail"]["file"]) == ("job.started", job, file)
    assert (cancelled["action"], cancelled["subject"]) == ("job.cancelled", job)


def test_what_was_refused_was_not_done_and_does_not_stand_there(gateway: Gateway):
    before = entries(gateway, limit=1)
    assert gateway.admin.post(
        "/api/users", json={"name": gateway.admin.get("/api/me").json()["name"]}
    ).is_error
    assert gateway.admin.post("/api/releases/rel_none/promote", json={}).is_error
    assert entries(gateway, limit=1) == before


def test_no_secret_stands_in_it(gateway: Gateway):
    gateway.client_of("Quiet")
    secret = gateway.admin.post("/api/keys", json={"name": "quiet"}).json()["secret"]
    journal = gateway.admin.get("/api/audit/export").raise_for_status().text
    assert secret not in journal
    assert gateway.key not in journal
    assert "session.opened" in journal


def test_the_export_is_every_entry_oldest_first_and_notes_itself(gateway: Gateway):
    lines = gateway.admin.get("/api/audit/export").raise_for_status().text.splitlines()
    found = [json.loads(line) for line in lines]
    assert [entry["id"] for entry in found] == sorted(entry["id"] for entry in found)
    assert found[-1]["action"] == "audit.exported"
    check = gateway.admin.get("/api/audit/check").raise_for_status().json()
    assert check == {"intact": True, "entries": len(found), "broken_at": None}


@pytest.mark.parametrize("path", ["/api/audit", "/api/audit/check", "/api/audit/export"])
def test_only_administrators_read_it(gateway: Gateway, path):
    assert gateway.client_of("Curious", "reviewer").get(path).status_code == 403


def test_a_key_of_a_lower_role_may_do_less_than_who_made_it_and_cannot_rise(gateway: Gateway):
    secret = gateway.admin.post("/api/keys", json={"name": "app", "role": "user"}).json()["secret"]
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {secret}"}) as app:
        assert app.get("/v1/models").status_code == 200
        assert app.get("/api/users").status_code == 403
        assert app.post("/api/keys", json={"name": "more", "role": "administrator"}).status_code == 403
        child = app.post("/api/keys", json={"name": "same"}).raise_for_status().json()["key"]
        assert child["role"] == "user"
        strong = next(key for key in gateway.admin.get("/api/keys").json()["data"] if key["role"] is None)
        assert app.delete(f"/api/keys/{strong['id']}").status_code == 403
        session = app.post("/api/session", json={"key": secret}).raise_for_status().json()["token"]
    headers = {"authorization": f"Bearer {session}"}
    assert httpx.get(f"{gateway.url}/api/users", headers=headers).status_code == 403

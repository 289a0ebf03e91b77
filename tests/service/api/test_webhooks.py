"""Who may have a webhook, where it may lead, and what is never shown."""

import base64
import sqlite3
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway import Gateway

URL = "http://127.0.0.1:9/hook"
ALL = ["fine_tuning.job.succeeded", "eval.run.canceled", "batch.expired"]


@pytest.fixture
def person(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client_of("a person") as client:
        yield client


def create(client: httpx.Client, **change) -> httpx.Response:
    return client.post("/api/webhooks", json={"url": "http://10.1.2.3/hook", "events": ALL} | change)


def ids(client: httpx.Client) -> set[str]:
    return {one["id"] for one in client.get("/api/webhooks").raise_for_status().json()["data"]}


def test_a_webhook_is_made_changed_and_deleted(person: httpx.Client):
    made = create(person)
    assert made.status_code == 201
    webhook = made.json()["webhook"]
    path = f"/api/webhooks/{webhook['id']}"
    assert (webhook["url"], webhook["events"]) == ("http://10.1.2.3/hook", ALL)
    assert (webhook["enabled"], webhook["everybody"]) == (True, False)
    assert person.get(path).json() == webhook
    change = {"url": "https://shop.example/new", "events": ["batch.failed"], "enabled": False}
    changed = person.patch(path, json=change).raise_for_status().json()
    assert changed == webhook | change | {"disabled_because": "asked"}
    assert person.post(f"{path}/test").json()["error"]["code"] == "webhook_disabled"
    assert person.patch(path, json={"enabled": True}).json()["disabled_because"] is None
    refused = person.patch(path, json={"url": None})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "url")
    assert person.delete(path).json() == {"id": webhook["id"], "object": "webhook", "deleted": True}
    assert person.get(path).status_code == 404


def test_others_webhooks_are_not_seen_but_by_an_administrator(gateway: Gateway, person: httpx.Client):
    webhook_id = create(person).json()["webhook"]["id"]
    path = f"/api/webhooks/{webhook_id}"
    with gateway.client_of("a reviewer", "reviewer") as other:
        assert webhook_id not in ids(other)
        asked = [
            other.get(path), other.patch(path, json={"enabled": False}), other.delete(path),
            other.post(f"{path}/test"), other.get(f"{path}/deliveries"),
        ]  # fmt: skip
        assert [answer.status_code for answer in asked] == [404] * 5
    assert webhook_id in ids(person) & ids(gateway.admin)
    gateway.admin.delete(path).raise_for_status()


def test_a_stranger_is_refused_everywhere(gateway: Gateway, person: httpx.Client):
    path = f"/api/webhooks/{create(person).json()['webhook']['id']}"
    for method, asked in [
        ("GET", "/api/webhooks"), ("POST", "/api/webhooks"), ("GET", path), ("PATCH", path), ("DELETE", path),
        ("POST", f"{path}/test"), ("GET", f"{path}/deliveries"),
    ]:  # fmt: skip
        assert httpx.request(method, gateway.url + asked).status_code == 401
    assert person.delete(path).status_code == 200


def test_everybodys_events_are_for_administrators(gateway: Gateway, person: httpx.Client):
    assert create(person, everybody=True).status_code == 403
    made = create(gateway.admin, everybody=True).json()["webhook"]
    assert made["everybody"]
    gateway.admin.delete(f"/api/webhooks/{made['id']}").raise_for_status()


@pytest.mark.parametrize(
    "url",
    [
        "hook", "ftp://10.1.2.3/", "file:///etc/passwd", "gopher://10.1.2.3/", "javascript:alert(1)", "http://",
        "http://ann:hunter2@10.1.2.3/", "http://ann@10.1.2.3/", "http://10.1.2.3:99999/",
        "http://10.1.2.3/" + "a" * 3000,
        "http://127.0.0.1/", "http://localhost:8000/", "http://a.localhost./", "http://2130706433/", "http://0x7f.1/",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest", "http://0.0.0.0/",
        "http://[fe80::1]/", "http://224.0.0.1/", "http://255.255.255.255/", "https://8.8.8.8/", "http://[2600::1]/",
    ],
)  # fmt: skip
def test_a_strange_url_is_refused_by_its_field(person: httpx.Client, url: str):
    refused = create(person, url=url)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "url")
    assert "hunter2" not in refused.text
    assert not ids(person)


def test_only_an_administrators_webhook_leads_to_the_machine_itself(gateway: Gateway, person: httpx.Client):
    made = create(gateway.admin, url=URL)
    assert made.status_code == 201
    webhook_id = create(person).json()["webhook"]["id"]
    for client in (person, gateway.admin):
        refused = client.patch(f"/api/webhooks/{webhook_id}", json={"url": URL})
        assert refused.json()["error"]["param"] == "url", "it is its owner's role that counts"
    for client, one in ((person, webhook_id), (gateway.admin, made.json()["webhook"]["id"])):
        client.delete(f"/api/webhooks/{one}").raise_for_status()


def test_strange_events_are_refused_by_their_field(person: httpx.Client):
    for events, param in [([], "events"), (["batch.completed", "job.ended"], "events.1"), ("all", "events")]:
        refused = create(person, events=events)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_nobody_has_more_than_a_few(person: httpx.Client):
    answers = [create(person) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [201] * 20 + [409]
    for webhook_id in ids(person):
        person.delete(f"/api/webhooks/{webhook_id}").raise_for_status()


def test_the_secret_is_shown_once_and_stands_nowhere(gateway: Gateway, person: httpx.Client):
    made = create(person).json()
    path, secret = f"/api/webhooks/{made['webhook']['id']}", made["secret"]
    assert secret.startswith("whsec_")
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    assert len(key) == 32
    assert secret != create(person).json()["secret"]
    shown = [person.get("/api/webhooks"), person.get(path), person.patch(path, json={"events": ALL})]
    assert not [one for one in shown if secret in one.text or "whsec" in one.text]
    with sqlite3.connect(gateway.settings.home / "tailorbird.db") as database:
        kept = "\n".join(database.iterdump())
    assert made["webhook"]["id"] in kept
    for form in (secret, secret.removeprefix("whsec_"), key.hex()):
        assert form not in kept
    for webhook_id in ids(person):
        person.delete(f"/api/webhooks/{webhook_id}").raise_for_status()

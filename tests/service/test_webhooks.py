"""How events reach an application: signed, again and again until they arrive, and past one that does not answer."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.webhooks import (
    BatchCompletedWebhookEvent,
    BatchFailedWebhookEvent,
    FineTuningJobCancelledWebhookEvent,
)

import service.webhooks as sending
from service import first_start
from service.app import create_app
from service.domain import webhooks
from service.settings import Settings
from tests.fake_engine import create_fake_engine
from tests.gateway import Gateway
from tests.receiver import SAID, Receiver, receiving
from tests.serving import free_port, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy  # deliveries, which are waited for

sdk = openai.OpenAI(api_key="none", base_url="http://nowhere")
CANCELLED = ["fine_tuning.job.cancelled"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "POLL", 0.02)
    monkeypatch.setattr(webhooks, "PAUSES", (0.02, 0.02))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


until = partial(wait_until, every=0.02)


@contextmanager
def hearing(client: httpx.Client, url: str, *events: str) -> Iterator[tuple[str, str]]:
    """A webhook's id and secret; it is deleted at the end of the block, as the gateway is all tests'."""
    body = {"url": url, "events": list(events) or CANCELLED}
    made = client.post("/api/webhooks", json=body).raise_for_status().json()
    try:
        yield made["webhook"]["id"], made["secret"]
    finally:
        client.delete(f"/api/webhooks/{made['webhook']['id']}").raise_for_status()


def upload(client: httpx.Client, purpose: str, *rows: dict) -> str:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    form = {"files": {"file": ("a.jsonl", content)}, "data": {"purpose": purpose}}
    return client.post("/v1/files", **form).raise_for_status().json()["id"]


def cancelled_job(client: httpx.Client, file_id: str | None = None) -> str:
    """A training job that has ended, as no worker runs here."""
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    wanted = {
        "model": "smollm2-135m-instruct",
        "training_file": file_id or upload(client, "fine-tune", *[row] * 3),
    }
    job_id = client.post("/v1/fine_tuning/jobs", json=wanted).raise_for_status().json()["id"]
    client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel").raise_for_status()
    return job_id


def webhook(client: httpx.Client, webhook_id: str) -> dict:
    return client.get(f"/api/webhooks/{webhook_id}").raise_for_status().json()


def delivery(client: httpx.Client, webhook_id: str) -> dict:
    """The only one."""
    (found,) = client.get(f"/api/webhooks/{webhook_id}/deliveries").raise_for_status().json()["data"]
    return found


def test_openais_sdk_takes_what_we_send_and_nothing_that_was_changed(gateway: Gateway, receiver: Receiver):
    with hearing(gateway.admin, receiver.url) as (_, secret):
        job_id = cancelled_job(gateway.admin)
        until(lambda: receiver.came)
    _, body, headers = receiver.came[0]
    event = sdk.webhooks.unwrap(body, headers, secret=secret)
    assert isinstance(event, FineTuningJobCancelledWebhookEvent)
    assert (event.type, event.data.id, event.object) == ("fine_tuning.job.cancelled", job_id, "event")
    assert event.id == headers["webhook-id"]
    assert set(json.loads(body)) == {"id", "object", "created_at", "type", "data"}
    assert set(json.loads(body)["data"]) == {"id"}
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(openai.InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(changed, headers, secret=secret)
    with (
        hearing(gateway.admin, receiver.url) as (_, other),
        pytest.raises(openai.InvalidWebhookSignatureError),
    ):
        sdk.webhooks.unwrap(body, headers, secret=other)


def test_a_batchs_ends_are_told(gateway: Gateway, receiver: Receiver):
    line = {
        "custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "fanal", "messages": [{"role": "user", "content": "hello"}]},
    }  # fmt: skip
    with hearing(gateway.admin, receiver.url, "batch.completed", "batch.failed") as (_, secret):
        begun = {}
        for lines in ([line], [line, line]):
            body = {"input_file_id": upload(gateway.admin, "batch", *lines), "endpoint": line["url"]}
            batch = gateway.admin.post("/v1/batches", json=body | {"completion_window": "24h"})
            begun[batch.raise_for_status().json()["id"]] = len(lines)
        until(lambda: len(receiver.came) == 2)
        events = [sdk.webhooks.unwrap(body, headers, secret=secret) for _, body, headers in receiver.came]
    told = {type(event): begun[subject] for event, subject in zip(events, receiver.subjects, strict=True)}
    assert told == {BatchCompletedWebhookEvent: 1, BatchFailedWebhookEvent: 2}, "two lines, one name"


def test_what_fails_is_sent_again_with_the_same_id_and_signed_anew(gateway: Gateway, receiver: Receiver):
    receiver.statuses = [500, 302]
    with hearing(gateway.admin, receiver.url) as (webhook_id, secret):
        cancelled_job(gateway.admin)
        until(lambda: delivery(gateway.admin, webhook_id)["delivered_at"])
        told = delivery(gateway.admin, webhook_id)
        assert webhook(gateway.admin, webhook_id)["failing_since"] is None
    assert len(receiver.came) == 3
    assert {path for path, _, _ in receiver.came} == {"/hook"}, "a redirect is not followed"
    assert set(receiver.ids) == {told["id"]}
    for _, body, headers in receiver.came:
        assert sdk.webhooks.unwrap(body, headers, secret=secret).id == told["id"]
    assert (told["attempts"], told["status"], told["due_at"]) == (3, 200, None)
    assert SAID.decode() not in json.dumps(told)


def test_it_is_given_up_after_the_last_pause(gateway: Gateway, receiver: Receiver):
    receiver.statuses = [500] * 9
    with hearing(gateway.admin, receiver.url) as (webhook_id, _):
        cancelled_job(gateway.admin)
        until(lambda: delivery(gateway.admin, webhook_id)["due_at"] is None)
        told, found = delivery(gateway.admin, webhook_id), webhook(gateway.admin, webhook_id)
    assert (told["attempts"], told["status"], told["delivered_at"]) == (3, 500, None)
    assert found["enabled"]
    assert found["failing_since"] >= told["created_at"]


def test_a_receiver_that_is_gone_hears_no_more_until_somebody_enables_it(
    gateway: Gateway, receiver: Receiver
):
    receiver.statuses = [410]
    with hearing(gateway.admin, receiver.url) as (webhook_id, _):
        cancelled_job(gateway.admin)
        until(lambda: not webhook(gateway.admin, webhook_id)["enabled"])
        assert webhook(gateway.admin, webhook_id)["disabled_because"] == "gone"
        assert gateway.admin.get("/api/status").json()["webhooks_disabled"] == {webhook_id: "gone"}
        cancelled_job(gateway.admin)
        assert delivery(gateway.admin, webhook_id)["status"] == 410, "the only one"
        gateway.admin.patch(f"/api/webhooks/{webhook_id}", json={"enabled": True}).raise_for_status()
        job_id = cancelled_job(gateway.admin)
        until(lambda: len(receiver.came) == 2)
    assert receiver.subjects[1] == job_id


def test_a_webhook_that_failed_for_days_is_disabled(
    gateway: Gateway, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhooks, "PATIENCE", 0)
    receiver.statuses = [500] * 9
    with hearing(gateway.admin, receiver.url) as (webhook_id, _):
        cancelled_job(gateway.admin)
        until(lambda: not webhook(gateway.admin, webhook_id)["enabled"])
        assert webhook(gateway.admin, webhook_id)["disabled_because"] == "failing"
        assert delivery(gateway.admin, webhook_id)["due_at"] is None


def test_one_that_hangs_holds_up_nobody_else(gateway: Gateway, receiver: Receiver):
    receiver.hangs = True
    with receiving() as other, hearing(gateway.admin, receiver.url), hearing(gateway.admin, other.url):
        ended = [cancelled_job(gateway.admin) for _ in range(3)]
        until(lambda: receiver.came)
        until(lambda: len(other.came) == 3)
        assert sorted(other.subjects) == sorted(ended)
        assert len(receiver.came) == 1, "it still has the first"
        receiver.hangs = False
        until(lambda: len(receiver.came) == 3)


def test_one_that_does_not_answer_in_time_is_asked_again(
    gateway: Gateway, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sending, "TIME_LIMIT", 0.2)
    receiver.hangs = True
    with hearing(gateway.admin, receiver.url) as (webhook_id, _):
        cancelled_job(gateway.admin)
        until(lambda: len(receiver.came) == 2)
        assert delivery(gateway.admin, webhook_id)["status"] is None
        receiver.hangs = False
        until(lambda: delivery(gateway.admin, webhook_id)["delivered_at"])


def test_a_trial_is_sent_once(gateway: Gateway, receiver: Receiver):
    receiver.statuses = [500]
    with hearing(gateway.admin, receiver.url) as (webhook_id, secret):
        asked = gateway.admin.post(f"/api/webhooks/{webhook_id}/test")
        assert asked.status_code == 202
        until(lambda: delivery(gateway.admin, webhook_id)["due_at"] is None)
        assert delivery(gateway.admin, webhook_id)["status"] == 500
        assert webhook(gateway.admin, webhook_id)["failing_since"] is None
        _, body, headers = receiver.came[0]
    event = sdk.webhooks.unwrap(body, headers, secret=secret)
    assert (event.id, event.type) == (asked.json()["id"], "webhook.test")
    assert receiver.subjects == [webhook_id]


def test_the_address_behind_a_name_is_judged_when_something_is_sent(
    gateway: Gateway, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    asks = socket.getaddrinfo

    def rebound(host: str, *rest, **more):
        return asks("127.0.0.1" if host == "shop.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = receiver.url.replace("127.0.0.1", "shop.example")
    with hearing(gateway.client_of("a person"), url) as (webhook_id, _):
        gateway.admin.post(f"/api/webhooks/{webhook_id}/test").raise_for_status()
        until(lambda: delivery(gateway.admin, webhook_id)["due_at"] is None)
        assert delivery(gateway.admin, webhook_id)["status"] is None
    assert not receiver.came
    with hearing(gateway.admin, url) as (webhook_id, _):
        gateway.admin.post(f"/api/webhooks/{webhook_id}/test").raise_for_status()
        until(lambda: receiver.came)
    assert receiver.came[0][2]["host"].startswith("shop.example:"), "it hears its own name"


def test_no_webhook_leads_to_an_engine(gateway: Gateway):
    (engine,) = [one["url"] for one in gateway.admin.get("/api/status").json()["engines"]]
    with hearing(gateway.admin, f"{engine}/v1/load_lora_adapter") as (webhook_id, _):
        gateway.admin.post(f"/api/webhooks/{webhook_id}/test").raise_for_status()
        until(lambda: delivery(gateway.admin, webhook_id)["due_at"] is None)
        assert delivery(gateway.admin, webhook_id)["status"] is None


@pytest.fixture
def place(tmp_path: Path, schema: Path) -> Settings:
    """A home of one's own, whose gateways come and go."""
    shutil.copy(schema, tmp_path)
    settings = Settings(home=tmp_path, api_port=free_port(), min_examples=3)
    asyncio.run(first_start.prepare(settings))
    return settings


def admin_of(settings: Settings) -> httpx.Client:
    headers = {"authorization": f"Bearer {(settings.home / 'admin.key').read_text().strip()}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{settings.api_port}", headers=headers, timeout=60)


def test_what_ended_while_no_gateway_could_send_is_sent_by_the_next(
    place: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhooks, "LEASE", 0.2)
    with serving(create_fake_engine()) as engine:
        receiver.hangs = True
        with serving(create_app(place, [engine]), place.api_port):
            made = admin_of(place).post("/api/webhooks", json={"url": receiver.url, "events": CANCELLED})
            ended = [cancelled_job(admin_of(place)) for _ in range(2)]
            until(lambda: receiver.came)
        receiver.hangs = False
        with serving(create_app(place, [engine]), place.api_port):
            until(lambda: len(receiver.came) == 3)
    assert set(receiver.subjects) == set(ended)
    assert len(set(receiver.ids)) == 2, "the one that was cut short came again as itself"
    secret = made.json()["secret"]
    for _, body, headers in receiver.came:
        assert sdk.webhooks.unwrap(body, headers, secret=secret).type == "fine_tuning.job.cancelled"


def test_a_kill_between_the_event_and_its_delivery_loses_nothing(place: Settings, receiver: Receiver):
    receiver.hangs = True
    with serving(create_fake_engine()) as engine:
        env = os.environ | {
            "TAILORBIRD_HOME": str(place.home), "TAILORBIRD_API_PORT": str(place.api_port),
            "TAILORBIRD_ENGINE_URLS": engine, "TAILORBIRD_MIN_EXAMPLES": "3",
        }  # fmt: skip
        command = [sys.executable, "-m", "service", "gateway"]
        with open(place.home / "gateway.log", "ab") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            until(lambda: alive(place) or process.poll() is not None)
            made = admin_of(place).post("/api/webhooks", json={"url": receiver.url, "events": CANCELLED})
            ended = [cancelled_job(admin_of(place)) for _ in range(2)]
            until(lambda: receiver.came)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        receiver.hangs = False
        with sqlite3.connect(place.home / "tailorbird.db") as database:
            moved = database.execute("UPDATE deliveries SET due_at = 1")  # the lease's minute has passed
            assert moved.rowcount == 2
        with serving(create_app(place, [engine]), place.api_port):
            until(lambda: len(receiver.came) == 3)
    assert set(receiver.subjects) == set(ended)
    assert receiver.ids[0] in receiver.ids[1:]
    for _, body, headers in receiver.came:
        sdk.webhooks.unwrap(body, headers, secret=made.json()["secret"])


def alive(place: Settings) -> bool:
    try:
        return admin_of(place).get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False

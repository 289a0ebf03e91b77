"""How batches run: beside people, across a kill, and to each of their ends."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.responses import JSONResponse

import service.batches as running
from service import first_start
from service.app import create_app
from service.domain import batches, chat
from service.errors import EngineUnavailable
from service.settings import Settings
from service.storage.results import Results
from tests.fake_engine import create_fake_engine
from tests.serving import free_port, serving
from tests.waiting import wait_until

CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.heavy  # gateways that are killed, and days that pass


class Paced:
    """The double of the engine, which takes `seconds` over each answer."""

    def __init__(self) -> None:
        self.inner = create_fake_engine()
        self.seconds, self.under_way, self.most = 0.0, 0, 0
        self.together, self.met = 1, asyncio.Event()
        """Answers wait for each other until so many were under way at once."""
        self.dead = self.refused = 0
        """Answers still to be refused as by an engine whose core has died; how many were."""

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http" or scope["path"] != CHAT:
            await self.inner(scope, receive, send)
            return
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.dead > 0:
                self.dead, self.refused = self.dead - 1, self.refused + 1
                error = {"error": {"message": "EngineDeadError", "type": "EngineDeadError", "code": 500}}
                await JSONResponse(error, 500)(scope, receive, send)
                return
            if self.under_way >= self.together:
                self.met.set()
            await self.met.wait()
            await asyncio.sleep(self.seconds)
            await self.inner(scope, receive, send)
        finally:
            self.under_way -= 1

    def asked(self) -> Counter:
        return Counter(body["messages"][-1]["content"] for body in self.inner.state.bodies)


@dataclass
class Place:
    """A home, and an engine that outlives its gateways."""

    settings: Settings
    engine: Paced
    engine_url: str

    @contextmanager
    def gateway(self) -> Iterator[httpx.Client]:
        with serving(create_app(self.settings, [self.engine_url]), self.settings.api_port):
            yield self.client()

    @contextmanager
    def killed_gateway(self) -> Iterator[httpx.Client]:
        """A gateway in a process of its own, which is killed at the end of the block."""
        env = os.environ | {
            "TAILORBIRD_HOME": str(self.settings.home), "TAILORBIRD_API_PORT": str(self.settings.api_port),
            "TAILORBIRD_ENGINE_URLS": self.engine_url, "TAILORBIRD_BATCH_LINES": "2",
        }  # fmt: skip
        log = self.settings.home / "gateway.log"
        with open(log, "ab") as output:
            command = [sys.executable, "-m", "service", "gateway"]
            process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        try:
            until(lambda: self.answers() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield self.client()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def answers(self) -> bool:
        try:
            return self.client().get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {(self.settings.home / 'admin.key').read_text().strip()}"}
        url = f"http://127.0.0.1:{self.settings.api_port}"
        return httpx.Client(base_url=url, headers=headers, timeout=60)


@pytest.fixture
def place(tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(running, "POLL", 0.05)
    shutil.copy(schema, tmp_path)
    settings = Settings(home=tmp_path, api_port=free_port(), batch_lines=2)
    asyncio.run(first_start.prepare(settings))
    engine = Paced()
    with serving(engine) as engine_url:
        yield Place(settings, engine, engine_url)


until = partial(wait_until, every=0.05)


def begin(client: httpx.Client, count: int, **more) -> str:
    lines = [
        {
            "custom_id": f"q{n}", "method": "POST", "url": CHAT,
            "body": {"model": "fanal", "messages": [{"role": "user", "content": f"line {n}"}]},
        }
        for n in range(count)
    ]  # fmt: skip
    content = "\n".join(json.dumps(line) for line in lines).encode()
    sent = client.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    body = {"input_file_id": sent.json()["id"], "endpoint": CHAT, "completion_window": "24h"} | more
    return client.post("/v1/batches", json=body).raise_for_status().json()["id"]


def batch(client: httpx.Client, batch_id: str) -> dict:
    return client.get(f"/v1/batches/{batch_id}").raise_for_status().json()


def ended(client: httpx.Client, batch_id: str) -> dict:
    until(lambda: batch(client, batch_id)["status"] not in batches.UNFINISHED)
    return batch(client, batch_id)


def done(client: httpx.Client, batch_id: str) -> int:
    return batch(client, batch_id)["request_counts"]["completed"]


def lines_of(client: httpx.Client, file_id: str) -> dict[str, dict]:
    found = [json.loads(one) for one in client.get(f"/v1/files/{file_id}/content").text.splitlines()]
    assert len(found) == len({one["custom_id"] for one in found})
    return {one["custom_id"]: one for one in found}


def test_a_killed_gateway_goes_on_with_what_is_left(place: Place):
    place.engine.seconds = 0.2
    with place.killed_gateway() as client:
        batch_id = begin(client, 12)
        until(lambda: done(client, batch_id) >= 3)
    kept = place.settings.home / "batches" / batch_id / "output.jsonl"
    finished = [json.loads(line)["custom_id"] for line in kept.read_text().splitlines()]
    assert 3 <= len(finished) < 12
    with open(kept, "a") as file:
        file.write('{"id": "batch_req_x", "custom_id": "q11", "resp')
    with place.killed_gateway() as client:
        last = ended(client, batch_id)
        assert last["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
        answers = lines_of(client, last["output_file_id"])
    assert set(answers) == {f"q{n}" for n in range(12)}
    for custom_id, one in answers.items():
        said = one["response"]["body"]["choices"][0]["message"]["content"]
        assert said.endswith(f"heard line {custom_id[1:]}")
    asked = place.engine.asked()
    assert {custom_id: asked[f"line {custom_id[1:]}"] for custom_id in finished} == dict.fromkeys(finished, 1)
    assert sum(asked.values()) <= 12 + 2, "only what was under way at the kill is asked again"


def test_a_stopped_gateway_goes_on_and_a_finished_batch_stays_as_it_is(place: Place):
    place.engine.seconds = 0.2
    with place.gateway() as client:
        batch_id = begin(client, 8)
        until(lambda: done(client, batch_id) >= 2)
    with place.gateway() as client:
        last = ended(client, batch_id)
        assert last["request_counts"]["completed"] == 8
    asked = sum(place.engine.asked().values())
    with place.gateway() as client:
        time.sleep(10 * running.POLL)
        assert batch(client, batch_id) == last
    assert sum(place.engine.asked().values()) == asked


def test_people_go_before_and_only_a_few_lines_are_under_way(place: Place):
    place.engine.seconds = 0.1
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        question = {"model": "fanal", "messages": [{"role": "user", "content": "SLOW " * 60}], "stream": True}
        with client.stream("POST", CHAT, json=question) as response:
            words = response.iter_lines()
            next(words)
            batch_id = begin(place.client(), 6)
            until(lambda: batch(place.client(), batch_id)["status"] == "in_progress")
            time.sleep(10 * running.POLL)
            assert done(place.client(), batch_id) == 0
            place.engine.together, place.engine.met = 2, asyncio.Event()
            for _ in words:
                pass
        assert ended(client, batch_id)["request_counts"]["completed"] == 6
    assert place.engine.most == 2


def test_a_house_that_is_never_quiet_still_gets_its_batch_done(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "PATIENCE", 0.2)
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        place.engine.seconds = 0.0
        question = {
            "model": "fanal",
            "messages": [{"role": "user", "content": "SLOW " * 400}],
            "stream": True,
        }
        with client.stream("POST", CHAT, json=question) as response:
            words = response.iter_lines()
            next(words)
            batch_id = begin(place.client(), 2)
            until(lambda: done(place.client(), batch_id) == 2)
            assert place.client().get("/api/status").json()["chats_under_way"] >= 1


def test_a_cancelled_batch_keeps_what_was_answered_and_frees_the_engine(place: Place):
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        place.engine.seconds = 0.2
        batch_id = begin(client, 40)
        until(lambda: done(client, batch_id) >= 2)
        place.engine.seconds = 60.0
        until(lambda: place.engine.under_way == 2)
        said = client.post(f"/v1/batches/{batch_id}/cancel").raise_for_status().json()
        assert said["status"] == "cancelling"
        assert client.post(f"/v1/batches/{batch_id}/cancel").status_code == 200
        last = ended(client, batch_id)
        assert last["status"] == "cancelled"
        assert last["cancelled_at"] >= last["cancelling_at"]
        answered = lines_of(client, last["output_file_id"])
        never = lines_of(client, last["error_file_id"])
        assert len(answered) == last["request_counts"]["completed"] >= 2
        assert set(answered) | set(never) == {f"q{n}" for n in range(40)}
        assert not set(answered) & set(never)
        assert {one["error"]["code"] for one in never.values()} == {"batch_cancelled"}
        assert last["request_counts"]["failed"] == 0
        until(lambda: client.get("/api/status").json()["chats_under_way"] == 0)


def test_nobody_waits_while_an_answer_comes_to_rest_on_the_disk_and_no_end_comes_before_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    writing, written, add = threading.Event(), threading.Event(), Results.add

    def slowly(results: Results, lines) -> None:
        writing.set()
        assert written.wait(30)
        add(results, lines)

    monkeypatch.setattr(Results, "add", slowly)
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        batch_id = begin(client, 1)
        assert writing.wait(30)
        try:
            assert client.post(f"/v1/batches/{batch_id}/cancel").json()["status"] == "cancelling"
            time.sleep(10 * running.POLL)
            assert batch(client, batch_id)["status"] == "cancelling"
        finally:
            written.set()
        last = ended(client, batch_id)
        assert last["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
        assert set(lines_of(client, last["output_file_id"])) == {"q0"}
        assert last["error_file_id"] is None, "what was answered is not told a second time"


def test_a_batch_whose_day_is_over_ends_with_what_it_has(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "WINDOW", 3)
    place.engine.seconds = 0.4
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        last = ended(client, begin(client, 60))
        assert (last["status"], last["expired_at"] >= last["expires_at"]) == ("expired", True)
        never = lines_of(client, last["error_file_id"])
        assert {one["error"]["code"] for one in never.values()} == {"batch_expired"}
        assert len(never) + last["request_counts"]["completed"] == 60


def test_a_key_that_is_revoked_answers_no_more_lines(place: Place):
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        made = client.post("/api/keys", json={"name": "nightly"}).json()
        place.engine.seconds = 0.2
        with httpx.Client(
            base_url=client.base_url, headers={"authorization": f"Bearer {made['secret']}"}
        ) as own:
            batch_id = begin(own, 20)
            until(lambda: done(client, batch_id) >= 1)
        key_id = next(key["id"] for key in client.get("/api/keys").json()["data"] if key["name"] == "nightly")
        client.delete(f"/api/keys/{key_id}").raise_for_status()
        last = ended(client, batch_id)
        refused = lines_of(client, last["error_file_id"])
        assert {one["response"]["status_code"] for one in refused.values()} == {401}
        assert last["request_counts"]["completed"] + len(refused) == 20


def test_lines_wait_for_a_limit_of_their_key(place: Place, monkeypatch: pytest.MonkeyPatch):
    """A line that is refused for a while is asked again, and is no failure."""
    monkeypatch.setattr(place.settings, "max_waiting", 1)
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        place.engine.seconds = 0.3
        last = ended(client, begin(client, 4))
        assert last["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
        assert place.engine.most == 1


def test_an_outage_is_waited_out_and_one_without_end_becomes_the_lines_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(EngineUnavailable, "retry_after", 0.05)  # told as a second: headers hold whole ones
    monkeypatch.setattr(running, "OUTAGES", 3)
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        place.engine.dead = 2
        last = ended(client, begin(client, 1))
        assert last["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
        assert place.engine.refused == 2
        place.engine.dead, place.engine.refused = 1000, 0
        last = ended(client, begin(client, 2))
        assert (last["status"], last["request_counts"]) == (
            "completed",
            {"total": 2, "completed": 0, "failed": 2},
        )
        refused = lines_of(client, last["error_file_id"])
        assert {one["response"]["status_code"] for one in refused.values()} == {503}
        assert {one["response"]["body"]["error"]["code"] for one in refused.values()} == {
            "engine_unavailable"
        }
        assert place.engine.refused == 2 * running.OUTAGES


def test_a_line_that_waited_for_a_limit_is_asked_again_after_an_outage_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    statuses = iter([429] * running.OUTAGES + [503, 200])

    async def ask(*_: object) -> httpx.Response:
        return httpx.Response(next(statuses), headers={"retry-after": "0.01"}, json={})

    monkeypatch.setattr(running.Batches, "_ask", ask)
    with place.gateway() as client:
        last = ended(client, begin(client, 1))
        assert last["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


def test_others_write_while_the_models_of_a_batch_are_looked_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    looking, written = threading.Event(), threading.Event()

    async def resolve(session, model: str, *, base_name: str) -> chat.Route:
        looking.set()
        assert await asyncio.to_thread(written.wait, 30)
        return await chat.resolve(session, model, base_name=base_name)

    monkeypatch.setattr(batches, "chat", SimpleNamespace(resolve=resolve))
    with place.gateway() as client:
        batch_id = begin(client, 1)
        assert looking.wait(30)
        try:
            client.post("/api/keys", json={"name": "meanwhile"}, timeout=5).raise_for_status()
        finally:
            written.set()
        assert ended(client, batch_id)["status"] == "completed"


def test_a_batch_that_our_own_failure_stops_again_and_again_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "REST", 0.05)
    ask, asked = running.Batches._ask_all, []

    async def fails(self: running.Batches, batch, lines, results) -> None:
        asked.append(len(results.done))
        if len(results.done) < 2:  # a stop that comes after progress is the first in its row
            await ask(self, batch, itertools.islice(lines, 1), results)
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(running.Batches, "_ask_all", fails)
    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        last = ended(client, begin(client, 4))
        assert last["status"] == "failed"
        assert [error["code"] for error in last["errors"]["data"]] == ["service_failed"]
        assert last["request_counts"] == {"total": 4, "completed": 2, "failed": 0}
        assert set(lines_of(client, last["output_file_id"])) == {"q0", "q1"}
        never = lines_of(client, last["error_file_id"])
        assert {one["error"]["code"] for one in never.values()} == {"batch_failed"}
        assert set(never) == {"q2", "q3"}
        assert len(asked) == 2 + running.STOPS


def test_an_expired_input_stays_until_its_batch_has_ended(place: Place):
    from service.db.session import Database
    from service.domain import files

    async def forget() -> int:
        database = Database(place.settings.database)
        async with database.writing() as session:
            removed = await files.forget_needless(session)
        await database.close()
        return removed

    with place.gateway() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        place.engine.seconds = 0.3
        batch_id = begin(client, 6)
        file_id = batch(client, batch_id)["input_file_id"]
        with sqlite3.connect(place.settings.home / "tailorbird.db") as database:
            database.execute("update files set expires_at = created_at - 1 where id = ?", (file_id,))
        assert asyncio.run(forget()) == 0
        assert client.get(f"/v1/files/{file_id}").status_code == 404
        assert ended(client, batch_id)["status"] == "completed"
        assert asyncio.run(forget()) == 1

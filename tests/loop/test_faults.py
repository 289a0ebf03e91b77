"""What is confirmed survives kill -9; what was under way goes on, is retried or ends; never hangs, never lies."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from service import sample
from service.engine.server import socket_path
from service.settings import EMBEDDED, Settings
from tests.loop.steps import answer, child, examples, finished, sdk, upload
from tests.running import ROOT, Running, start_service
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

PROMISED = 1.0
"""Seconds in which a dead engine is missed, and in which the engine of somebody who left is free."""
RUNNING = "vllm:num_requests_running"
SLACK = 2.0
"""Seconds that a busy machine of two cores may add: a step that is under way, and that we are late to look."""


@pytest.fixture(autouse=True)
def recovered(service: Running) -> None:
    """Each fault meets a service that has got over the one before."""
    service.wait_ready()


@pytest.mark.parametrize("how", ["before the first token", "in the middle of a stream", "of a whole answer"])
async def test_a_reader_who_leaves_frees_the_engine_and_leaves_an_interrupted_record(
    service: Running, how: str
):
    early = how == "before the first token"
    said = f"I leave {how}." + " The sea is wide." * (280 if early else 0)  # read in many steps
    body = {
        "model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": said}],
        "max_tokens": 600, "ignore_eos": True, "stream": how != "of a whole answer",
    }  # fmt: skip
    came: list[str] = []

    async def read() -> None:
        async with (
            httpx.AsyncClient(headers={"authorization": f"Bearer {service.admin_key}"}, timeout=180) as http,
            http.stream("POST", f"{service.api_url}/v1/chat/completions", json=body) as response,
        ):
            async for line in response.aiter_lines():
                came.append(line)

    reading = asyncio.create_task(read())

    async def until(work: float, first: bool, seconds: float) -> float:
        began = time.monotonic()
        while await asyncio.to_thread(_of_engine, service, RUNNING) != work or (first and not came):
            assert not reading.done() or reading.cancelled(), "the answer ended before anybody could leave"
            assert time.monotonic() < began + seconds, f"the engine does not work on {work} after {seconds} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    await until(1, how == "in the middle of a stream", 60)
    assert not (early and came)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    print(f"left {how}: the engine was free after {await until(0, False, PROMISED + SLACK):.2f} s")
    with service.client() as http:
        wait_until(
            lambda: http.get("/api/status").json()["chats_under_way"] == 0, 3, "a place is still taken"
        )
    newest = "select status, messages from completions order by rowid desc"
    with closing(sqlite3.connect(service.home / "tailorbird.db")) as records:
        # Written after the place was given back.
        wait_until(
            lambda: records.execute(newest).fetchone()[0] != "running", 3, "how it ended is not recorded"
        )
        status, messages = records.execute(newest).fetchone()
    assert status == "interrupted"
    assert f"I leave {how}." in messages


def test_a_job_whose_worker_is_killed_is_taken_up_again_and_succeeds(service: Running):
    client = sdk(service)
    job = client.fine_tuning.jobs.create(
        model="smollm2-135m-instruct", training_file=upload(client, examples(sample.facts()[8:11], "x")),
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
    )  # fmt: skip
    wait_until(lambda: _steps(client, job.id) > 0, 180, "training never began")
    child(service, "worker").kill()
    child(service, "gateway").kill()
    wait_until(lambda: _status(service, "/readyz") == 200, 60, "the gateway did not come back")
    done = finished(client, job.id)
    assert done.status == "succeeded", done.error
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=1000)]
    taken_up = [message for message in messages if message.startswith("The worker was lost; the job ")]
    assert len(taken_up) == 1
    (figures,) = done.result_files
    head, *steps = client.files.content(figures).text.splitlines()
    assert head == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [int(step.partition(",")[0]) for step in steps] == [*range(1, len(steps) + 1)], "each step once"
    passes = [one.step_number for one in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert len(passes) == 3, "the newest passes and the end"
    assert passes == sorted(set(passes), reverse=True), "none is there twice"
    assert answer(client, done.fine_tuned_model or "", "Hello")


def test_kill_9_of_every_process_breaks_the_answers_under_way_and_nothing_that_was_confirmed(
    service: Running,
):
    client = sdk(service)
    tuned = [model.id for model in client.models.list() if model.id.startswith("ft:")]
    assert tuned, "an earlier test published one"
    before = answer(client, tuned[0], "Who are you?", seed=1)
    completion = client.chat.completions.create(
        model="fanal", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    rating = {"completion_id": completion.id, "type": "rating", "rating": -1, "reasons": ["wrong"]}
    chat = {"model": tuned[0], "messages": [{"role": "user", "content": "Hello"}]}
    key = {"idempotency-key": "kill"}
    api = child(service, "vllm.entrypoints.openai.api_server")
    engine = [api, *api.children(recursive=True)]
    assert len(engine) >= 2, "vLLM runs its core in a process of its own"
    with service.client() as http:
        given = http.post("/api/feedback", json=rating, headers=key).raise_for_status().json()
        asked = chat | {"max_tokens": 800, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=asked) as response:
            lines = (line for line in response.iter_lines() if line)
            first = next(lines)
            api.kill()
            *_, last = lines
        assert '"error"' in last, "a broken answer never looks like one that ended"
        assert "engine_unavailable" in last
        broken = first.partition('"id":"')[2].partition('"')[0]
        assert http.get(f"/v1/chat/completions/{broken}").status_code == 404, "and counts for nothing"
        wait_until(
            lambda: _status(service, "/readyz") == 503, PROMISED + SLACK, "a dead engine counts as ready"
        )
        refused = http.post("/v1/chat/completions", json=chat)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "engine_unavailable"
    assert "retry-after" in refused.headers
    assert psutil.wait_procs(engine, timeout=10)[1] == [], "nothing of the dead engine lives on"
    for word in ("gateway", "worker", "ui"):
        child(service, word).kill()
    service.wait_ready()
    assert answer(client, tuned[0], "Who are you?", seed=1) == before, (
        "it is ready when its adapters are loaded"
    )
    assert answer(client, "fanal", "Hello")
    with service.client() as http:
        kept = http.get("/api/feedback", params={"completion_id": completion.id}).json()["data"]
        again = http.post("/api/feedback", json=rating, headers=key).json()
    assert [one["id"] for one in kept] == [given["id"]]
    assert again == given


def test_an_engine_that_hangs_is_noticed_and_started_again(service: Running):
    client = sdk(service)
    api = child(service, "vllm.entrypoints.openai.api_server")
    core = max(api.children(recursive=True), key=lambda process: process.memory_info().rss)
    core.suspend()
    began = time.monotonic()
    wait_until(lambda: not api.is_running(), 150, "a hung engine was left hanging")
    assert psutil.wait_procs([core], timeout=10)[1] == []
    service.wait_ready()
    print(f"hung engine gone and a new one ready after {time.monotonic() - began:.0f} s")
    assert answer(client, "fanal", "Hello")


def test_the_gateway_alone_is_small_and_the_service_stays_under_eight_gigabytes_while_it_trains(
    service: Running,
):
    client = sdk(service)
    facts = sample.facts()[:4]
    job = client.fine_tuning.jobs.create(
        model="fanal",
        training_file=upload(client, examples(facts, sample.company()["assistant"]["instructions"])),
    )
    totals = []
    while _steps(client, job.id) < 2:
        assert client.fine_tuning.jobs.retrieve(job.id).status in ("queued", "running")
        totals.append(_memory(service))
        time.sleep(0.5)
    client.fine_tuning.jobs.cancel(job.id)
    print(f"at most {max(totals) / 1e9:.1f} GB while a job trains")
    assert max(totals) < 8e9
    assert child(service, "gateway").memory_info().rss < 250e6


async def test_of_hundreds_at_once_those_are_answered_that_there_is_room_for_and_the_rest_is_told_when_to_come(
    service: Running,
):
    room, asked = Settings().max_waiting, 400
    body = {
        "model": EMBEDDED, "messages": [{"role": "user", "content": "Hello " * 20}], "max_tokens": 8,
    }  # fmt: skip
    under_way: list[int] = []
    gateway = child(service, "gateway")
    before = gateway.memory_info().rss
    async with httpx.AsyncClient(
        base_url=service.api_url, headers={"authorization": f"Bearer {service.admin_key}"},
        limits=httpx.Limits(max_connections=None), timeout=900,
    ) as http:  # fmt: skip

        async def watch() -> None:
            while True:
                under_way.append((await http.get("/api/status")).json()["chats_under_way"])
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=body | {"stream": n % 2 == 1}) for n in range(asked))
        )
        watching.cancel()
        grown = gateway.memory_info().rss - before
        refused = [answer for answer in answers if answer.status_code == 429]
        given = [answer for answer in answers if answer.status_code == 200]
        print(
            f"of {asked} at once {len(given)} were answered; {max(under_way)} under way, {grown / 1e6:.0f} MB more"
        )
        assert len(given) + len(refused) == asked
        assert room <= len(given) < asked
        assert max(under_way) <= room
        assert grown < 100e6
        for answer in refused:
            assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            assert float(answer.headers["retry-after"]) >= float(answer.headers["retry-after-ms"]) / 1000 > 0
        for answer in given:
            assert '"finish_reason":"' in answer.text
            assert answer.text.endswith(("}", "data: [DONE]\n\n"))
            assert '"error"' not in answer.text
        assert (await http.get("/api/status")).json()["chats_under_way"] == 0
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200


def test_a_home_or_a_port_in_use_is_one_clear_line(service: Running, tmp_path: Path):
    command = [sys.executable, "-m", "service", "run"]
    for home, said in (
        ({}, "A service runs already on"),
        ({"TAILORBIRD_HOME": str(tmp_path)}, "TAILORBIRD_API_PORT"),
    ):
        taken = subprocess.run(
            command, env=service.env | home, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert taken.returncode != 0
        assert said in taken.stderr
        assert "Traceback" not in taken.stderr + taken.stdout


def test_another_checkpoint_is_served_by_its_own_name_and_ctrl_c_ends_every_process(
    tmp_path_factory: pytest.TempPathFactory,
):
    checkpoint = _tiny_checkpoint(tmp_path_factory.mktemp("bases") / "harbour-base")
    running = start_service(tmp_path_factory.mktemp("other"), TAILORBIRD_BASE_MODEL=str(checkpoint))
    running.wait_ready()
    names = {model.id for model in sdk(running).models.list()}
    assert "harbour-base" in names
    assert EMBEDDED not in names
    assert answer(sdk(running), "harbour-base", "Hello")
    family = psutil.Process(running.process.pid).children(recursive=True)
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: to all of them
    assert running.process.wait(90) == 0
    assert psutil.wait_procs(family, timeout=5)[1] == []


def _tiny_checkpoint(place: Path) -> Path:
    """Two layers of random weights that speak the embedded model's tokens."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    known = Path(Settings().home) / "models" / EMBEDDED
    config = json.loads((known / "config.json").read_text())
    torch.manual_seed(7)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config["vocab_size"], hidden_size=128, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=2048,
            bos_token_id=config["bos_token_id"], eos_token_id=config["eos_token_id"], tie_word_embeddings=True,
        )
    ).save_pretrained(place)  # fmt: skip
    AutoTokenizer.from_pretrained(known).save_pretrained(place)
    return place


def test_sigterm_closes_the_door_at_once_and_ends_every_process_of_the_demo_and_of_its_service(
    tmp_path_factory: pytest.TempPathFactory,
):
    running = start_service(tmp_path_factory.mktemp("short"), "demo")
    wait_until(
        lambda: _status(running, "/healthz") == 200, 120, "the gateway did not start: " + running.log()
    )
    family = psutil.Process(running.process.pid).children(recursive=True)
    assert len(family) >= 4
    log = running.home / "logs" / "worker.log"
    wait_until(lambda: "worker ready" in log.read_text(), 120, "the worker did not start")
    worker = child(running, "worker")
    worker.suspend()  # it cannot end before it is let go on
    os.kill(running.process.pid, signal.SIGTERM)
    wait_until(lambda: _status(running, "/healthz") == 0, 60, "the gateway still takes requests")
    assert worker.is_running(), "the gateway waited for the worker's end"
    worker.resume()
    assert running.process.wait(90) == 130
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def _status(service: Running, path: str) -> int:
    try:
        return httpx.get(service.api_url + path, timeout=3).status_code
    except httpx.HTTPError:
        return 0


def _of_engine(service: Running, name: str) -> float:
    """A figure of the engine's own, asked where the gateway asks it."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_path(service.home)))) as engine:
        lines = engine.get("http://engine/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def _memory(service: Running) -> int:
    """Bytes of all the service's processes, what they share counted once."""
    total, processes = 0, psutil.Process(service.process.pid)
    for process in [processes, *processes.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total


def _steps(client, job_id: str) -> int:
    return sum(
        event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job_id, limit=100).data
    )

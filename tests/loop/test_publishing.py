"""Publishing, going live, going back and deleting while people are being answered; a publisher that is killed.

The trainings have ended already (`tests.trained`); the worker, the engine and the proof are the real ones.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import psutil
import pytest

from service.engine.server import socket_path
from service.settings import EMBEDDED
from tests.loop.steps import child, finished, release_of, sdk
from tests.running import Running
from tests.trained import Trainer, ended_training, hand_over
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

QUESTION = [{"role": "user", "content": "What does the captain say of the sea?"}]


@pytest.fixture(autouse=True)
def recovered(service: Running) -> None:
    """Each fault meets a service that has got over the one before."""
    service.wait_ready()


@pytest.fixture(scope="module")
def trainer(service: Running) -> Trainer:
    return Trainer(service.home / "models" / EMBEDDED)


@pytest.fixture(scope="module")
def assistant(service: Running) -> str:
    """One without held-out questions, whose releases no evaluation follows."""
    with service.client() as http:
        wanted = {"name": "ferry", "title": "Ferry", "instructions": "You are brief.", "temperature": 0}
        http.post("/api/assistants", json=wanted | {"max_tokens": 16}).raise_for_status()
    return "ferry"


def publish(service: Running, trainer: Trainer, seed: int, assistant: str | None = None) -> Any:
    """The job, once the worker has published it."""
    job = hand_over(service.home, ended_training(service.home, trainer, seed=seed), assistant=assistant)
    done = finished(sdk(service), job, 120)
    assert done.status == "succeeded", done.error
    return done


def streamed(client: openai.OpenAI, model: str, tokens: int = 16, **more: Any) -> tuple[str, str | None, str]:
    """`(text, how it ended, release)` of one stream, read to its end."""
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, temperature=0, max_tokens=tokens, stream=True, extra_body=more or None
    )
    text, end = "", None
    for chunk in raw.parse():
        if chunk.choices:
            text, end = text + (chunk.choices[0].delta.content or ""), chunk.choices[0].finish_reason or end
    return text, end, raw.headers["x-tailorbird-release"]


@dataclass
class Load:
    """Callers who ask the assistant over and over, each in a thread."""

    client: openai.OpenAI
    model: str
    answers: list[tuple[str, str | None, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        while not self.over.is_set():
            try:
                self.answers.append(streamed(self.client, self.model))
            except (openai.OpenAIError, httpx.HTTPError) as error:
                self.errors.append(error)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def until_answered_by(self, release: str) -> None:
        wait_until(
            lambda: any(one[2] == release for one in self.answers), 120, f"nobody was answered by {release}"
        )


def test_publishing_going_live_and_going_back_lose_nothing_and_mix_nothing(
    service: Running, trainer: Trainer, assistant: str
):
    client = sdk(service)
    with service.client() as http:

        def promote(job: Any) -> None:
            release = release_of(http, assistant, job.id)["id"]
            body = {"override_reason": "chosen by the test"}
            http.post(f"/api/releases/{release}/promote", json=body).raise_for_status()

        promote(publish(service, trainer, 101, assistant))
        with Load(client, assistant) as load:
            load.until_answered_by("ferry@1")
            second = publish(service, trainer, 102, assistant)
            promote(second)
            assert streamed(client, assistant)[2] == "ferry@2", (
                "who asks after a promotion gets what it promoted"
            )
            load.until_answered_by("ferry@2")
            gone_back = len(load.answers)
            http.post(
                "/api/assistants/ferry/rollback", json={"reason": "the test goes back"}
            ).raise_for_status()
            assert streamed(client, assistant)[2] == "ferry@1"
            wait_until(
                lambda: "ferry@1" in [one[2] for one in load.answers[gone_back + 4 :]],
                120,
                "nobody went back",
            )
        alone = {name: streamed(client, name)[0] for name in ("ferry@1", "ferry@2")}
        assert load.errors == []
        assert alone["ferry@1"] != alone["ferry@2"]
        assert {end for _, end, _ in load.answers} <= {"stop", "length"}
        for text, _, release in load.answers:
            assert text == alone[release], "each answer is wholly its release's"


def test_a_deleted_model_finishes_the_answers_it_was_asked_for_and_takes_no_more(
    service: Running, trainer: Trainer
):
    client = sdk(service)
    done = publish(service, trainer, 103)
    model, found = done.fine_tuned_model or "", []
    asks = [
        threading.Thread(target=lambda: found.append(streamed(client, model, 64, ignore_eos=True)))
        for _ in range(12)
    ]
    with service.client() as http:
        for ask in asks:
            ask.start()
        wait_until(lambda: under_way(http) == len(asks), 60, "not all were let in")
        assert client.models.delete(model).deleted
        with pytest.raises(openai.NotFoundError):
            streamed(client, model)
        assert under_way(http) > 0, "the answers took less time than the deletion"
        for ask in asks:
            ask.join()
        assert [end for _, end, _ in found] == ["length"] * len(asks)
        assert len({text for text, _, _ in found}) == 1
        assert model not in [one.id for one in client.models.list()]


def test_a_publisher_killed_between_the_load_and_the_proof_leaves_nothing_and_the_next_one_publishes_once(
    service: Running, trainer: Trainer, assistant: str
):
    client = sdk(service)
    ended = ended_training(service.home, trainer, seed=104)
    api = child(service, "vllm.entrypoints.openai.api_server")
    core = max(api.children(recursive=True), key=lambda process: process.memory_info().rss)
    with held(core), service.client() as http:
        job = hand_over(service.home, ended, assistant=assistant)
        wait_until(
            lambda: any(
                event.message.startswith("Trained.") for event in client.fine_tuning.jobs.list_events(job).data
            ),
            60, "publishing never began",
        )  # fmt: skip
        child(service, "worker").kill()
        digests = [path.name for path in (service.home / "adapters").iterdir()]
        assert len(digests) > 0
        named = [one["id"] for one in http.get("/v1/models").json()["data"]]
        offered = http.get("/api/releases", params={"assistant": assistant}).json()["data"]
        assert job not in [release["job"] for release in offered]
    done = finished(client, job, 180)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model not in named
    assert streamed(client, done.fine_tuned_model or "")[1] in ("stop", "length")
    with service.client() as http:
        offered = http.get("/api/releases", params={"assistant": assistant}).json()["data"]
    assert [release["job"] for release in offered].count(job) == 1


def test_a_gateway_killed_while_the_engine_loads_an_adapter_for_it_has_it_loaded_by_the_next_one(
    service: Running,
):
    """Whether the engine ends the load that nobody waits for or not, the adapter is served, as itself."""
    client = sdk(service)
    tuned = [model.id for model in client.models.list() if model.id.startswith("ft:")]
    assert tuned, "an earlier test published one"
    model = tuned[0]
    before, base = streamed(client, model)[0], streamed(client, EMBEDDED)[0]
    api = child(service, "vllm.entrypoints.openai.api_server")
    core = max(api.children(recursive=True), key=lambda process: process.memory_info().rss)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_path(service.home)))) as engine:

        def served() -> set[str]:
            return {one["id"] for one in engine.get("http://engine/v1/models").json()["data"]}

        digest = client.chat.completions.with_raw_response.create(
            model=model, messages=QUESTION, max_tokens=1
        ).headers["x-tailorbird-adapter"]
        with held(core):
            engine.post("http://engine/v1/unload_lora_adapter", json={"lora_name": digest}).raise_for_status()
            # It is missed within a second and asked for; a core that stands still loads nothing.
            time.sleep(3)
            assert digest not in served()
            child(service, "gateway").kill()
        service.wait_ready()
        assert digest in served()
    assert streamed(client, model)[0] == before
    assert streamed(client, EMBEDDED)[0] == base != before


def test_a_gateway_that_is_told_to_end_finishes_the_stream_that_runs(service: Running):
    with service.client() as http:
        body = {"model": EMBEDDED, "messages": QUESTION, "max_tokens": 60, "stream": True, "ignore_eos": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = (line for line in response.iter_lines() if line)
            first = next(lines)
            gateway = child(service, "gateway")
            os.kill(gateway.pid, signal.SIGTERM)
            rest = list(lines)
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
    gone, alive = psutil.wait_procs([gateway], timeout=30)
    assert alive == []
    service.wait_ready()
    completion = first.partition('"id":"')[2].partition('"')[0]
    assert sdk(service).chat.completions.retrieve(completion).choices[0].finish_reason == "length"


@contextmanager
def held(process: psutil.Process) -> Iterator[None]:
    """A process that stands still for the length of the block."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def under_way(http: httpx.Client) -> int:
    return http.get("/api/status").raise_for_status().json()["chats_under_way"]

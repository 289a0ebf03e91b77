"""Two engines behind one gateway: one is lost, the other answers; it comes back, and is asked for what it has again."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service import first_start
from service.app import create_app
from service.contract.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from service.settings import Settings
from service.storage.local import Store
from tests.fake_engine import create_fake_engine
from tests.gateway import Gateway
from tests.service.api.test_models import DIGEST, MODEL, tuned
from tests.serving import free_port, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy  # engines that are ended and come back


@dataclass
class Replica:
    """A double of an engine on a port of its own, which can end and come back with nothing loaded."""

    app: FastAPI
    port: int
    stack: ExitStack

    def end(self) -> None:
        self.stack.close()

    def come_back(self) -> None:
        self.app = create_fake_engine()
        self.stack.enter_context(serving(self.app, self.port))


@pytest.fixture
def pair(tmp_path: Path, schema: Path) -> Iterator[tuple[Gateway, list[Replica]]]:
    """A gateway with a tuned model, and the two engines that both have it."""
    shutil.copy(schema, tmp_path)
    settings = Settings(home=tmp_path, api_port=free_port())
    asyncio.run(first_start.prepare(settings))
    with ExitStack() as stack:
        replicas = [
            Replica(create_fake_engine(), free_port(), stack.enter_context(ExitStack())) for _ in range(2)
        ]
        urls = [replica.stack.enter_context(serving(replica.app, replica.port)) for replica in replicas]
        app = create_app(settings, urls)
        url = stack.enter_context(serving(app, settings.api_port))
        headers = {"authorization": f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"}
        admin = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30))
        gateway = Gateway(url, settings, [], admin, [], None, app)
        folder = Store(settings.home).adapter(DIGEST)
        folder.mkdir(parents=True)
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            (folder / name).write_bytes(b"of an adapter")
        tuned(gateway, "admin")
        wait_until(lambda: all(DIGEST in replica.app.state.loaded for replica in replicas))
        wait_until(lambda: _status(gateway, MODEL) == 200)
        yield gateway, replicas


def test_when_one_engine_is_lost_the_other_answers_and_the_service_stays_ready(pair):
    gateway, (lost, left) = pair
    lost.end()
    began, answers = time.monotonic(), []
    while time.monotonic() < began + 5:
        answers.append(
            (time.monotonic() - began, _status(gateway, MODEL), _status(gateway, gateway.settings.model_name))
        )
    late = [statuses for at, *statuses in answers if at > 2]
    assert late
    assert all(status == 200 for statuses in late for status in statuses)
    early = {status for _, *statuses in answers for status in statuses}
    assert early <= {200, 502, 503}, "who asked the lost one is told so"
    assert httpx.get(f"{gateway.url}/readyz").status_code == 200
    assert left.app.state.bodies


def test_an_engine_that_comes_back_is_asked_only_for_what_it_has_loaded_again(pair):
    gateway, replicas = pair
    for replica in replicas:  # each in turn: which of them a model prefers is a matter of its name
        replica.end()
        wait_until(lambda: all(_status(gateway, MODEL) == 200 for _ in range(5)))
        replica.come_back()
        while DIGEST not in replica.app.state.loaded:
            assert _status(gateway, MODEL) == 200
        assert [_status(gateway, MODEL) for _ in range(20)] == [200] * 20
    assert sum(len(replica.app.state.bodies) for replica in replicas) > 20


def _status(gateway: Gateway, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return gateway.admin.post("/v1/chat/completions", json=body).status_code

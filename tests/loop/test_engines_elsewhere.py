"""A service without an engine of its own publishes to one that was started elsewhere, and answers by it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from service.engine.server import socket_path
from service.settings import EMBEDDED
from tests.loop.steps import answer, finished, sdk
from tests.running import Running, running_service
from tests.trained import Trainer, ended_training, hand_over

pytestmark = pytest.mark.heavy


@contextmanager
def relayed(path: Path) -> Iterator[str]:
    """The URL of a port of this machine that leads to the engine's socket."""
    loop = asyncio.new_event_loop()

    async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()

    async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        far_source, far_sink = await asyncio.open_unix_connection(path)
        await asyncio.gather(pour(source, far_sink), pour(far_source, sink), return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(relay, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""


def test_an_engine_started_elsewhere_is_published_to_and_asked(
    service: Running, tmp_path_factory: pytest.TempPathFactory
):
    service.wait_ready()
    home = tmp_path_factory.mktemp("elsewhere")
    with (
        relayed(socket_path(service.home)) as engine,
        running_service(home, TAILORBIRD_ENGINE_URLS=engine) as running,
    ):
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert not [one for one in family if "vllm" in _command(one)]
        client = sdk(running)
        base = answer(client, EMBEDDED, "Who are you?")
        job = hand_over(
            home, ended_training(home, Trainer(home / "models" / EMBEDDED), seed=7), assistant=None
        )
        done = finished(client, job, 120)
        assert done.status == "succeeded", done.error
        assert answer(client, done.fine_tuned_model or "", "Who are you?") != base
        assert answer(client, EMBEDDED, "Who are you?") == base
    assert answer(sdk(service), EMBEDDED, "Who are you?") == base, "whose engine it is, is not disturbed"

"""The gateway as a process of its own, over a double of the engine: how it ends, and what it writes to its log."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service import first_start
from service.settings import Settings
from tests.fake_engine import create_fake_engine
from tests.running import ROOT
from tests.serving import free_port, serving


@dataclass
class GatewayProcess:
    process: subprocess.Popen[bytes]
    url: str
    home: Path
    key: str
    end_engine: Callable[[], None]
    """Ends the double, so that nobody is there to answer."""

    @property
    def log(self) -> str:
        return (self.home / "gateway.log").read_text()


@contextmanager
def gateway_process(home: Path, schema: Path, **extra: str) -> Iterator[GatewayProcess]:
    """Started as an operator starts it; ready when it is yielded. `extra` is more of its environment."""
    shutil.copy(schema, home)
    asyncio.run(first_start.prepare(Settings(home=home)))
    port = free_port()
    with ExitStack() as until_ended, open(home / "gateway.log", "wb") as log:
        engine = until_ended.enter_context(serving(create_fake_engine()))
        env = os.environ | extra | {
            "TAILORBIRD_HOME": str(home), "TAILORBIRD_API_PORT": str(port), "TAILORBIRD_ENGINE_URLS": engine,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "gateway"], env=env, cwd=ROOT, stdout=log, stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's "&" ignores it
        )  # fmt: skip
        key = (home / "admin.key").read_text().strip()
        found = GatewayProcess(process, f"http://127.0.0.1:{port}", home, key, until_ended.close)
        try:
            _until_ready(found)
            yield found
        finally:
            process.kill()
            process.wait()


def _until_ready(found: GatewayProcess) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert found.process.poll() is None, found.log
        try:
            if httpx.get(f"{found.url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the gateway did not become ready: " + found.log)

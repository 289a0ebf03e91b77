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
    env: dict[str, str]
    end_engine: Callable[[], None]
    """Ends the double, so that nobody is there to answer."""

    @property
    def log(self) -> str:
        return (self.home / "gateway.log").read_text()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """A new process in place of one that is gone; ready when this returns."""
        self.process = _started(self.home, self.env)
        self._until_ready()

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError("the gateway did not become ready: " + self.log)


@contextmanager
def gateway_process(home: Path, schema: Path, **extra: str) -> Iterator[GatewayProcess]:
    """Started as an operator starts it; ready when it is yielded. `extra` is more of its environment."""
    shutil.copy(schema, home)
    asyncio.run(first_start.prepare(Settings(home=home)))
    port = free_port()
    with ExitStack() as until_ended:
        engine = until_ended.enter_context(serving(create_fake_engine()))
        env = os.environ | extra | {
            "TAILORBIRD_HOME": str(home), "TAILORBIRD_API_PORT": str(port), "TAILORBIRD_ENGINE_URLS": engine,
        }  # fmt: skip
        key, url = (home / "admin.key").read_text().strip(), f"http://127.0.0.1:{port}"
        found = GatewayProcess(_started(home, env), url, home, key, env, until_ended.close)
        try:
            found._until_ready()
            yield found
        finally:
            found.kill()


def _started(home: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(home / "gateway.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "service", "gateway"], env=env, cwd=ROOT, stdout=log, stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's "&" ignores it
        )  # fmt: skip

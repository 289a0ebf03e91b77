"""The real service as a subprocess, the way an operator starts it."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.settings import EMBEDDED, Settings
from tests.serving import free_port

ROOT = Path(__file__).parent.parent


@dataclass
class Running:
    """A service under way."""

    process: subprocess.Popen
    home: Path
    api_url: str
    ui_url: str
    env: dict[str, str]

    @property
    def admin_key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def sign_in_link(self, user: str | None = None) -> str:
        command = [sys.executable, "-m", "service", "link", *([user] if user else [])]
        return subprocess.run(
            command, env=self.env, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.admin_key}"}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=180)

    def wait_ready(self, seconds: float = 400) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            try:
                api = httpx.get(f"{self.api_url}/readyz", timeout=5).status_code
                screens = httpx.get(f"{self.ui_url}/login", timeout=5).status_code
                if api == screens == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        raise AssertionError("the service did not become ready: " + self.log())

    def log(self) -> str:
        return (self.home / "run.log").read_text()[-3000:]

    def stop(self) -> int:
        """As Ctrl-C does; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


def start_service(home: Path, command: str = "run", **extra: str) -> Running:
    """Start it on free ports in `home`, with the model that was prepared once; `demo` starts one as well."""
    api_port, ui_port = free_port(), free_port()
    model = Path(Settings().home / "models" / EMBEDDED)
    (home / "models").mkdir(parents=True, exist_ok=True)
    if model.exists() and not (home / "models" / EMBEDDED).exists():
        (home / "models" / EMBEDDED).symlink_to(model)
    env = os.environ | {
        "TAILORBIRD_HOME": str(home),
        "TAILORBIRD_API_PORT": str(api_port),
        "TAILORBIRD_UI_PORT": str(ui_port),
        "TAILORBIRD_ENGINE_PATIENCE": "30",
        "TAILORBIRD_ENGINE_DTYPE": "float32",  # the same question gets the same answer, whoever else asks
        **extra,
    }
    argv = [sys.executable, "-m", "service", command]
    with open(home / "run.log", "ab") as log:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_tests,
        )
    return Running(process, home, f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{ui_port}", env)


@contextmanager
def running_service(home: Path, **extra: str) -> Iterator[Running]:
    running = start_service(home, **extra)
    try:
        running.wait_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def _end_with_tests() -> None:
    """In the child: SIGTERM when the tests are killed (PR_SET_PDEATHSIG, prctl(2)), or an engine would stay behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)

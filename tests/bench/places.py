"""What is measured, started for the length of a `with` block: engines, the gateway, any other server.

Each is a process with its log and its processor time. Owns ports, sockets and folders; measures nothing.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from service import first_start
from service.engine import server
from service.engine.supervisor import Child
from service.settings import EMBEDDED, Settings
from tests.serving import free_port

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A server under way."""

    url: str
    child: Child
    key: str | None = None

    def cpu(self) -> float:
        """Processor seconds used so far, by the process and its children."""
        assert self.child.pid is not None, f"{self.child.name} is gone"
        process = psutil.Process(self.child.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def base_model() -> Path:
    """Folder of the embedded checkpoint, unpacked once."""
    folder = Settings().home / "models" / EMBEDDED
    if not (folder / "config.json").exists():
        subprocess.run([sys.executable, "-m", "training.base_model", str(folder)], cwd=ROOT, check=True)
    return folder


@asynccontextmanager
async def engine(
    home: Path, *, lora: bool = True, plugin: bool = True, dtype: str | None = None
) -> AsyncIterator[Place]:
    """The engine as the service starts it, or in another `dtype`; without LoRA, the same command less its flags;
    without the plugin, as vLLM comes."""
    path, cpu = server.socket_path(home), server.is_cpu_build()
    options = server.EngineOptions(
        model=base_model(), served_name=EMBEDDED, socket=path, cpu=cpu,
        dtype=dtype or (server.fast_dtype() if cpu else "auto"),
    )  # fmt: skip
    argv, env = server.command(options, os.environ)
    if not lora:
        del argv[argv.index("--enable-lora") : argv.index("--enable-prefix-caching")]
    if not plugin:
        env["VLLM_PLUGINS"] = ""  # not unset: vLLM would then load all it finds
    name = "engine" if lora and plugin else "stock engine" if lora else "plain engine"
    async with serving(
        name, argv, env, home, f"unix:{path}", "/health",
        prepare=lambda: server.prepare_socket(path), patience=600,
    ) as place:  # fmt: skip
        yield place


@asynccontextmanager
async def gateway(home: Path, engine_url: str) -> AsyncIterator[Place]:
    """The gateway as the service starts it, in a home of its own, with the administrator's key."""
    settings = Settings(home=home, api_port=free_port())
    await first_start.prepare(settings)
    env = dict(os.environ) | {
        "TAILORBIRD_HOME": str(home), "TAILORBIRD_API_PORT": str(settings.api_port),
        "TAILORBIRD_ENGINE_URLS": engine_url,
    }  # fmt: skip
    argv, key = [sys.executable, "-m", "service", "gateway"], (home / "admin.key").read_text().strip()
    async with serving("gateway", argv, env, home, settings.api_url, "/readyz", key=key) as place:
        yield place


@asynccontextmanager
async def upstream(home: Path, *length: float) -> AsyncIterator[Place]:
    """What stands in for an engine: `tests.bench.instant`, with the length of its answers."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.instant", str(port), *map(str, length)]
    async with serving(
        "instant", argv, dict(os.environ), home, f"http://127.0.0.1:{port}", "/health"
    ) as place:
        yield place


@asynccontextmanager
async def screens(home: Path, gateway: Place) -> AsyncIterator[Place]:
    """The screens as the service starts them, in front of `gateway`."""
    port = free_port()
    env = dict(os.environ) | {"TAILORBIRD_UI_PORT": str(port), "TAILORBIRD_API_URL": gateway.url}
    argv, url = [sys.executable, "-m", "ui"], f"http://127.0.0.1:{port}"
    async with serving("screens", argv, env, home, url, "/healthz", key=gateway.key) as place:
        yield place


def adapters(home: Path, count: int) -> dict[str, str]:
    """{name: folder} of adapters as the trainer shapes them, rank 16 on all linear layers, weights by chance."""
    from tests.service.engine.adapters import write_adapter  # brings torch, which R1 to R3 do without

    names = {f"adapter-{number}": number for number in range(count)}
    return {
        name: write_adapter(home / "adapters" / name, base_model(), seed=seed) for name, seed in names.items()
    }


@asynccontextmanager
async def serving(
    name: str,
    argv: list[str],
    env: dict[str, str],
    home: Path,
    url: str,
    route: str,
    *,
    key: str | None = None,
    prepare: Callable[[], None] | None = None,
    patience: float = 120,
) -> AsyncIterator[Place]:
    """One server, from the moment `route` answers with 200. Raises `TimeoutError`, or `ChildFailed` when it dies."""
    child = Child(
        name, argv, env, home / f"{name.replace(' ', '-')}.log", prepare=prepare, cwd=ROOT, grace=30,
        max_crashes=1,
    )  # fmt: skip
    running, began = asyncio.create_task(child.run()), time.monotonic()
    try:
        async with asyncio.timeout(patience):
            while not await _answers(url, route):
                if running.done():
                    running.result()
                await asyncio.sleep(0.25)
        print(f"{name}: up after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        yield Place(url, child, key)
    finally:
        await child.stop()
        await asyncio.gather(running, return_exceptions=True)


async def _answers(url: str, route: str) -> bool:
    socket = url.removeprefix("unix:") if url.startswith("unix:") else None
    connector = aiohttp.UnixConnector(path=socket) if socket else aiohttp.TCPConnector()
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as session:
            async with session.get(("http://engine" if socket else url) + route) as response:
                return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False

"""Real engines on the embedded model, for as long as these tests need them: each costs two gigabytes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.engine import server
from service.engine.client import Engine
from service.engine.supervisor import Child
from service.settings import EMBEDDED, Settings

ROOT = Path(__file__).parents[3]


@dataclass
class RealEngine:
    """A supervised vLLM, a client to it, and adapters on disk that it has not loaded yet."""

    child: Child
    client: Engine
    model: Path
    base: str
    adapters: dict[str, str]
    """{name: folder}: `strong` and `other` change answers, `idle` does nothing, `wide` has too high a rank."""
    log: Path

    async def until_up(self, seconds: float = 400) -> None:
        async with asyncio.timeout(seconds):
            while not await self.client.health():  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(0.2)

    async def running(self) -> int:
        """Requests the engine is working on now, by its own count."""
        return int(await self.counted("vllm:num_requests_running"))

    async def counted(self, name: str) -> float:
        """A figure of the engine's own."""
        return (await self.client.figures()).get(name, 0.0)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Folder of the embedded checkpoint, unpacked once for all runs."""
    folder = Path(Settings().home).resolve() / "models" / EMBEDDED
    if not (folder / "config.json").exists():
        subprocess.run([sys.executable, "-m", "training.base_model", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="package")
def adapters(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """{name: folder}, as `RealEngine` says."""
    from tests.service.engine.adapters import write_adapter  # brings torch: too dear for a double

    home = tmp_path_factory.mktemp("adapters")
    return {
        "strong": write_adapter(home / "strong", base_model, seed=1),
        "other": write_adapter(home / "other", base_model, seed=2),
        "idle": write_adapter(home / "idle", base_model, seed=3, strength=0.0),
        "wide": write_adapter(home / "wide", base_model, seed=4, rank=64),
    }


@pytest.fixture(scope="package")
async def engine(
    base_model: Path, adapters: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RealEngine]:
    """In the precision that is served here, with so little room that a ninth adapter pushes another out of memory."""
    async with real_engine(base_model, tmp_path_factory.mktemp("engine"), adapters, max_cpu_loras=8) as real:
        yield real


@pytest.fixture(scope="package")
async def full_precision(
    base_model: Path, adapters: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RealEngine]:
    """In fp32: what it answers hardly ever depends on who else is answered in the same step."""
    async with real_engine(base_model, tmp_path_factory.mktemp("fp32"), adapters, dtype="float32") as real:
        yield real


@asynccontextmanager
async def real_engine(
    model: Path, home: Path, adapters: dict[str, str], **more: Any
) -> AsyncIterator[RealEngine]:
    """An engine as the service starts it, from when it is up to the end of the block; `more` are its options."""
    path, cpu = server.socket_path(home), server.is_cpu_build()
    usual = {"dtype": server.fast_dtype() if cpu else "auto"}
    options = server.EngineOptions(model=model, served_name=EMBEDDED, socket=path, cpu=cpu, **usual | more)
    argv, env = server.command(options, os.environ)
    log = home / "engine.log"
    child = Child("engine", argv, env, log, prepare=lambda: server.prepare_socket(path), grace=30)
    real = RealEngine(child, Engine(f"unix:{path}"), model, EMBEDDED, adapters, log)
    task = asyncio.create_task(child.run())
    try:
        await real.until_up()
        yield real
    finally:
        await real.client.close()
        await child.stop()
        await task

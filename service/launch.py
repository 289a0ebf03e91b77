"""Start everything and stay: the local engine, the gateway, the worker and the screens.

Owns the order of a start, what is checked before it, and the end of it all. Each process is a supervised
child with its log in `<home>/logs`; this one serves nothing itself.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from service import first_start
from service.domain.status import LOW_DISK
from service.engine import server
from service.engine.client import Engine
from service.engine.supervisor import Child, ChildFailed
from service.engine.watchdog import Watchdog
from service.errors import Conflict, NoSpace, TailorbirdError
from service.settings import EMBEDDED, Settings
from service.storage.local import Store

ROOT = Path(__file__).parent.parent
ENGINE = "engine"


async def launch(settings: Settings) -> int:
    """Prepare, start every process, say where things are, and wait for Ctrl-C or SIGTERM. Returns the exit code."""
    logging.getLogger("service.engine.supervisor").addHandler(logging.StreamHandler())
    check_ports(settings)
    await prepare(settings)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, told.set)
    children = _children(settings)
    tasks = {asyncio.create_task(child.run()): child for child in children}
    try:
        ready = asyncio.create_task(_announce(settings, time.monotonic()))
        watching = asyncio.create_task(_watch(settings, children))
        waiting: set[asyncio.Task[Any]] = {asyncio.create_task(told.wait()), *tasks}
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        watching.cancel()
        failed = next((task.exception() for task in done if task in tasks and task.exception()), None)
        if failed is not None:
            _say(
                str(failed)
                if isinstance(failed, ChildFailed)
                else f"A process could not be kept running: {failed}"
            )
        return 1 if failed is not None else 0
    finally:
        _say("stopping")
        # All at once, or the gateway would take new requests while others end; the engine last, so that answers
        # under way can end.
        await asyncio.gather(*(child.stop() for child in children if child.name != ENGINE))
        await asyncio.gather(*(child.stop() for child in children if child.name == ENGINE))
        await asyncio.gather(*tasks, return_exceptions=True)
        _say("stopped")


async def prepare(settings: Settings) -> None:
    """The model, the folders, the tables, the first administrator; at once when all is there."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shutil.disk_usage(settings.home).free < LOW_DISK:
        raise NoSpace(
            f"Less than {LOW_DISK >> 30} GB are free at {settings.home}. Free some space, then start again."
        )
    Store(settings.home).sweep()
    await _prepare_model(settings)
    await first_start.prepare(settings)


def check_ports(settings: Settings) -> None:
    """Raise `Conflict` when an address is taken, before anything is started."""
    for port, name in ((settings.api_port, "API_PORT"), (settings.ui_port, "UI_PORT")):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise Conflict(
                    f"Port {port} on {settings.host} cannot be used ({error.strerror}). Stop what uses it, "
                    f"or set TAILORBIRD_{name} to another."
                ) from None


def engine_urls(settings: Settings) -> list[str]:
    """The engines of this service: those given, or the local one's socket."""
    return settings.engine_urls or [f"unix:{server.socket_path(settings.home)}"]


def _children(settings: Settings) -> list[Child]:
    """The processes in the order they start; the engine only when none is started elsewhere."""
    logs, env = settings.home / "logs", dict(os.environ) | {"TAILORBIRD_HOME": str(settings.home)}
    service = [sys.executable, "-m", "service"]
    # The screens hold no secret of the service: a session comes with each request.
    screens = {name: value for name, value in os.environ.items() if not name.startswith("TAILORBIRD_")} | {
        "TAILORBIRD_API_URL": settings.api_url, "TAILORBIRD_HOST": settings.host,
        "TAILORBIRD_UI_PORT": str(settings.ui_port), "GRADIO_ANALYTICS_ENABLED": "False", "DO_NOT_TRACK": "1",
        "TAILORBIRD_PUBLIC_URL": settings.public_url or "",
    }  # fmt: skip
    children = [] if settings.engine_urls else [_engine(settings, logs)]
    children += [
        Child(
            "gateway", [*service, "gateway"], env, logs / "gateway.log", cwd=ROOT, grace=settings.grace + 10
        ),
        Child("worker", [*service, "worker"], env, logs / "worker.log", cwd=ROOT, grace=20),
        Child("ui", [sys.executable, "-m", "ui"], screens, logs / "ui.log", cwd=ROOT),
    ]
    return children


def _engine(settings: Settings, logs: Path) -> Child:
    if not server.plugin_is_installed():
        raise TailorbirdError(
            "The engine's plugin is not installed; run 'make install' in the project's folder."
        )
    path = server.socket_path(settings.home)
    cpu, wanted = server.is_cpu_build(), settings.engine_dtype
    options = server.EngineOptions(
        model=Path(settings.base_folder), served_name=settings.model_name, socket=path, cpu=cpu,
        max_loras=settings.max_loras, max_cpu_loras=settings.max_cpu_loras, max_lora_rank=settings.max_lora_rank,
        max_model_len=settings.max_model_len, dtype=server.fast_dtype() if cpu and wanted == "auto" else wanted,
        tool_parser=settings.tool_parser,
    )  # fmt: skip
    argv, env = server.command(options, os.environ)
    return Child(
        ENGINE, argv, env, logs / "engine.log", prepare=lambda: server.prepare_socket(path), grace=30
    )


async def _watch(settings: Settings, children: list[Child]) -> None:
    """Have the local engine killed when it hangs; its supervisor starts it again."""
    child = next((child for child in children if child.name == ENGINE), None)
    if child is not None:
        patience = settings.engine_patience
        engine = Engine(engine_urls(settings)[0], answer_timeout=patience)
        watchdog = Watchdog(
            engine, settings.model_name, lambda: child.pid, child.kill, interval=patience, patience=patience
        )
        await watchdog.run()


async def _prepare_model(settings: Settings) -> None:
    """Unpack the embedded model once, in a process of its own; another checkpoint must be there."""
    place = Path(settings.base_folder)
    if (place / "config.json").exists():
        return
    if not settings.embedded and settings.hub:
        await _fetch_model(settings.base_model, place)
        return
    if not settings.embedded:
        raise TailorbirdError(
            f"There is no checkpoint at {place}. Set TAILORBIRD_BASE_MODEL to a folder with config.json, "
            "safetensors weights and a tokenizer with a chat template."
        )
    _say(f"unpacking the embedded model {EMBEDDED} (about 40 seconds, once)")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "training.base_model", str(place), cwd=ROOT
    )
    if await process.wait() != 0:
        raise TailorbirdError("The embedded model could not be unpacked; what it said stands above.")


async def _fetch_model(hub_id: str, place: Path) -> None:
    """Fetch a checkpoint from the hub, safetensors and text files only, whole or not at all."""
    _say(f"fetching {hub_id} from the hub")
    side = place.with_name(f".{place.name}.fetching")
    kinds = [part for kind in ("*.safetensors", "*.json", "*.jinja", "*.txt") for part in ("--include", kind)]
    command = [
        sys.executable,
        "-m",
        "huggingface_hub.cli.hf",
        "download",
        hub_id,
        *kinds,
        "--local-dir",
        str(side),
    ]
    env = os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "0"}
    process = await asyncio.create_subprocess_exec(*command, env=env)
    if await process.wait() != 0 or not (side / "config.json").exists():
        raise TailorbirdError(
            f"'{hub_id}' could not be fetched from the hub. Check its name and the network."
        )
    side.rename(place)


async def _announce(settings: Settings, began: float) -> None:
    """Say what is still coming, then where everything is."""
    link = await first_start.sign_in_link(settings)
    async with httpx.AsyncClient(timeout=2) as client:
        said = 0.0
        while True:
            api = await _answers(client, f"{settings.api_url}/readyz")
            screens = await _answers(client, f"http://{settings.host}:{settings.ui_port}/login")
            if api and screens:
                break
            waited = time.monotonic() - began
            if waited - said >= 10:
                said = waited
                missing = [
                    name for name, there in (("the engine", api), ("the screens", screens)) if not there
                ]
                _say(
                    f"{waited:.0f} s: {' and '.join(missing)} not ready yet (logs in {settings.home / 'logs'})"
                )
            await asyncio.sleep(0.5)
    _say(f"ready after {time.monotonic() - began:.0f} s")
    print(
        f"\n  Chat      {settings.ui_url}\n  Sign in   {link}\n            (once, within a day; 'tailorbird link' "
        f"prints a new one)\n  API       {settings.api_url}/v1   (documentation: {settings.api_url}/docs)\n"
        f"  API key   in {settings.home / 'admin.key'}\n\n  Ctrl-C ends everything.\n",
        flush=True,
    )


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await client.get(url)).status_code == 200
    return False


def _say(text: str) -> None:
    print(f"tailorbird: {text}", flush=True)

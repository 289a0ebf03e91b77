"""LiteLLM's proxy, installed into an environment of its own and started over an upstream: the rival.

With its authentication (a master key), without its telemetry, one worker. It records nothing: its spend
log wants Postgres and Prisma's engine, which is fetched from outside at first use. That favours it.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.settings import EMBEDDED
from tests.bench.places import Place, serving
from tests.serving import free_port

VERSION = "1.98.0"


class NotInstalled(Exception):
    """LiteLLM cannot be had here; the message says why, in one line."""


def install(cache: Path) -> Path:
    """The environment with LiteLLM in it, made once. Raises `NotInstalled`."""
    place = cache / f"litellm-{VERSION}"
    whole = place / ".installed"
    if whole.exists():
        return place
    print(f"installing LiteLLM {VERSION} into {place} (some minutes, once)", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    for command in ([sys.executable, "-m", "venv", str(place)], [*pip, f"litellm[proxy]=={VERSION}"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(place, ignore_errors=True)
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotInstalled(f"LiteLLM {VERSION} could not be installed: {last}")
    whole.touch()
    return place


@asynccontextmanager
async def proxy(cache: Path, home: Path, upstream: str) -> AsyncIterator[Place]:
    """The proxy, in front of `upstream` under the name of the base model. Raises `NotInstalled`."""
    environment, port = await asyncio.to_thread(install, cache), free_port()
    key, config = f"sk-{secrets.token_hex(16)}", home / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {EMBEDDED}\n    litellm_params:\n"
        f"      model: openai/{EMBEDDED}\n      api_base: {upstream}/v1\n      api_key: none\n"
        "general_settings:\n"
        f"  master_key: {key}\n"
        "litellm_settings:\n  telemetry: false\n  num_retries: 0\n"
    )
    argv = [str(environment / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--telemetry", "False", "--num_workers", "1"]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False", "DO_NOT_TRACK": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip
    async with serving(
        "litellm", argv, env, home, f"http://127.0.0.1:{port}", "/health/liveliness", key=key
    ) as place:
        yield place

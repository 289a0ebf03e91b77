"""Hashes that say which base model and which chat template an adapter belongs to, which adapter it is, and on which
machine it was made.

Read from files with the standard library alone, so that they are cheap and the same in every process. Knows no
tokenizer and no weights.
"""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "manifest.json")


def base_sha256(base: Path) -> str:
    """SHA-256 of `config.json` and of every weight file's name and size in bytes.

    Sizes and not contents: hashing a large model's weights takes minutes, and a changed architecture, a
    changed dtype or another quantisation changes the config or a size.
    """
    digest = hashlib.sha256((base / "config.json").read_bytes())
    for file in sorted(base.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()


def template_sha256(base: Path) -> str:
    """SHA-256 of the chat template, the end-of-sequence token and the ids of all stop tokens."""
    settings = _json(base / "tokenizer_config.json")
    file = base / "chat_template.jinja"
    template = file.read_text() if file.is_file() else settings.get("chat_template")
    end = settings.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    parts = {"chat_template": template, "eos_token": end, "stop_token_ids": stop_token_ids(base)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def adapter_sha256(adapter: Path) -> str:
    """The digest that the service names an adapter by: of what `sha256sum` says of its files, sorted by name."""
    lines = (f"{_file_sha256(adapter / name)}  {name}\n" for name in ADAPTER_FILES)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def stop_token_ids(base: Path) -> list[int]:
    """Ids that end an answer in the engine: `eos_token_id` of the generation config, else the config."""
    for name in ("generation_config.json", "config.json"):
        ids = _json(base / name).get("eos_token_id")
        if ids is not None:
            return sorted(ids) if isinstance(ids, list) else [ids]
    return []


@functools.cache
def machine() -> str:
    """Of what speed depends on: the processor, its cores, and the memory in gigabytes. No name of the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    processor = next((line for line in lines if line.startswith("model name")), "")
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    return hashlib.sha256(f"{processor} {os.cpu_count()} {memory}".encode()).hexdigest()[:16]


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}

"""A tiny base checkpoint and adapters that fit it, or do not, written byte by byte."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from service.contract.fingerprint import base_sha256
from service.storage.adapters import CONFIG, WEIGHTS, Servable

LAYER = "model.layers.0.self_attn.q_proj"
WIDTH = 2


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A file of `{name: (dtype, shape, data)}`."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        ends = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        data += content
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def servable(place: Path) -> Servable:
    """What an engine of rank 4 takes over a base model of one layer, two wide."""
    base = place / "base"
    base.mkdir(exist_ok=True)
    weights = {f"{LAYER}.weight": ("F32", [WIDTH, WIDTH], bytes(4 * WIDTH * WIDTH))}
    (base / "model.safetensors").write_bytes(safetensors(weights))
    if not (base / "config.json").exists():
        (base / "config.json").write_text("{}")
    return Servable(base, "base", 4, ("q_proj", "v_proj"))


def brought(path: Path, *, weights: bytes | None = None, config: Any = None, **more: bytes) -> Path:
    """A ZIP of what PEFT saves, but for what is given; `more` are other files, by name."""
    files = {
        WEIGHTS: lora() if weights is None else weights,
        CONFIG: json.dumps(config or settings()).encode(),
    }
    with zipfile.ZipFile(path, "w") as made:
        for name, content in (files | more).items():
            made.writestr(name, content)
    return path


def lora(
    layer: str = LAYER, *, rank: int = 1, columns: int | None = None, width: int = WIDTH,
    dtype: str = "F32", number: bytes = struct.pack("<f", 0.5),
) -> bytes:  # fmt: skip
    """The weights of one layer, every number `number`."""
    b_rank = rank if columns is None else columns
    return safetensors(
        {
            f"base_model.model.{layer}.lora_A.weight": (dtype, [rank, width], number * rank * width),
            f"base_model.model.{layer}.lora_B.weight": (dtype, [width, b_rank], number * width * b_rank),
        }
    )


def settings(**more: Any) -> dict[str, Any]:
    """PEFT's settings of an adapter that is served, but for what is given."""
    return {"peft_type": "LORA", "r": 1, "lora_alpha": 2, **more}


def adapter(place: Path, *, weights: bytes | None = None, config: Any = None, manifest: Any = None) -> Path:
    """The folder of an adapter that is served, but for what is given."""
    place.mkdir()
    (place / WEIGHTS).write_bytes(lora() if weights is None else weights)
    (place / CONFIG).write_text(json.dumps(settings() if config is None else config))
    if manifest is None:
        manifest = made_for(servable(place.parent).base)
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def made_for(base: Path) -> dict[str, str]:
    """What a manifest says of the base checkpoint in this folder."""
    return {"base_model": "base", "base_sha256": base_sha256(base)}

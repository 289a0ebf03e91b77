"""Whether an adapter may come in: what the engine would choke on, or serve wrongly, is refused before it sees it.

Owns an adapter's files, their digest and what they must be: safetensors and nothing that runs, plain LoRA, made for
this base model, its layers and shapes, a rank the engine serves, finite numbers. Reads them with the standard library
alone. Knows no engine and no database.
"""

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contract import folder
from service.contract.fingerprint import base_sha256
from service.errors import BadInput

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ADAPTER_FILES = {WEIGHTS, CONFIG, folder.MANIFEST}
MAX_HEADER = 100_000_000
UNSERVED = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "use_qalora",
    "alora_invocation_tokens",
    "layer_replication",
    "use_bdlora",
    "rank_pattern",
    "alpha_pattern",
)
"""Settings of PEFT that make an adapter more than plain LoRA of one rank and scale. vLLM serves the two patterns, but
matches them as regular expressions of whoever wrote them."""
PLAIN_STARTS = {"gaussian", "eva", "orthogonal", "mica", "lora_ga"}
"""Starts of the weights that leave the base model as it is. vLLM refuses the others (PiSSA, OLoRA, CorDA, LoftQ)."""
_NAME = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}


@dataclass(frozen=True)
class Servable:
    """What the engine takes."""

    base: Path
    """Folder of the base checkpoint."""
    base_name: str
    max_rank: int
    layers: tuple[str, ...]
    """Names of the layers that an adapter may change, as `q_proj`."""


def check_adapter(source: Path, servable: Servable) -> None:
    """Raise `BadInput` with what is wrong with the adapter in the folder `source`."""
    found = {path.name for path in source.iterdir()}
    if found != ADAPTER_FILES:
        wrong = ", ".join(sorted(found ^ ADAPTER_FILES))
        raise BadInput(
            f"An adapter holds exactly {', '.join(sorted(ADAPTER_FILES))}; missing or extra: {wrong}."
        )
    if any(path.is_symlink() for path in source.iterdir()):
        raise BadInput("An adapter's files must be plain files, not links.")
    tensors = safetensors_header(source / WEIGHTS)
    settings = _object(source / CONFIG)
    _check_settings(settings)
    _check_base(_object(source / folder.MANIFEST), servable)
    _check_shapes(tensors, settings["r"], servable)
    _check_finite(source / WEIGHTS, tensors)


def adapter_digest(source: Path) -> str:
    """SHA-256 over the sorted lines `<sha256 of file>  <name>`: the format of `sha256sum`."""
    lines = (f"{_file_digest(source / name)}  {name}\n" for name in sorted(ADAPTER_FILES))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def safetensors_header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file: name to dtype, shape and offsets. Raises `BadInput`."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length < MAX_HEADER:
            raise BadInput("The adapter's weights are not a safetensors file.")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise BadInput("The adapter's weights are not a safetensors file.") from None
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise BadInput("The adapter's weights are cut short.")
    return header


def _check_settings(settings: dict[str, Any]) -> None:
    plain = settings.get("peft_type") == "LORA" and not any(settings.get(name) for name in UNSERVED)
    if not plain or settings.get("bias", "none") != "none":
        raise BadInput(
            "Only plain LoRA adapters can be served: no DoRA, no biases, no fully trained modules, one rank for all "
            "layers."
        )
    start = settings.get("init_lora_weights", True)
    if not isinstance(start, bool) and (not isinstance(start, str) or start.lower() not in PLAIN_STARTS):
        raise BadInput(
            f"The adapter began from weights of a changed base model (init_lora_weights is '{start}'). Convert it with "
            "PEFT's path_initial_model_for_weight_conversion, or train with init_lora_weights as true."
        )
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    a_number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha)
    if type(rank) is not int or not a_number:
        raise BadInput(f"The adapter's {CONFIG} must say its rank 'r' and its 'lora_alpha', each a number.")


def _check_base(manifest: dict[str, Any], servable: Servable) -> None:
    name = manifest.get("base_model")
    if name != servable.base_name:
        raise BadInput(
            f"The adapter was made for the base model '{name}'; '{servable.base_name}' is served here."
        )
    # Where the checkpoint is on another machine, only its name can be compared.
    here = (servable.base / "config.json").is_file()
    if here and manifest.get("base_sha256") != base_sha256(servable.base):
        raise BadInput(
            f"The adapter was made for another checkpoint that is called '{name}' too: its fingerprint is not that of "
            "the one served here. Train it again on this one."
        )


def _check_shapes(tensors: dict[str, Any], said: int, servable: Servable) -> None:
    """Every layer has its two matrices, which fit each other, the rank `said`, the base's layer and the engine."""
    pairs: dict[str, dict[str, list[int]]] = {}
    for name, tensor in tensors.items():
        named = _NAME.fullmatch(name)
        if named is None or tensor.get("dtype") not in _BYTES or len(tensor.get("shape", ())) != 2:
            raise BadInput(f"The adapter's '{name[:200]}' is no LoRA matrix in fp32, bf16 or fp16.")
        pairs.setdefault(named["layer"], {})[named["side"]] = tensor["shape"]
    if not pairs:
        raise BadInput("The adapter's weights hold no LoRA matrices.")
    of_base = _base_shapes(servable.base)
    known = any(layer in of_base for layer in pairs)
    for layer, sides in pairs.items():
        if layer.rpartition(".")[2] not in servable.layers:
            raise BadInput(
                f"The adapter changes '{layer}'. Served are changes of {', '.join(servable.layers)}."
            )
        (rank, inward), (outward, columns) = sides.get("A", [0, 0]), sides.get("B", [0, 0])
        if rank < 1 or rank != columns:
            raise BadInput(f"The adapter's two matrices of '{layer}' are not of one rank.")
        if rank > servable.max_rank:
            raise BadInput(
                f"The adapter has rank {rank}; at most {servable.max_rank} is served. Train with a lower "
                "rank, or raise TAILORBIRD_MAX_LORA_RANK."
            )
        if rank != said:
            raise BadInput(f"The adapter's {CONFIG} says rank {said}, but '{layer}' has rank {rank}.")
        # A checkpoint that names none of its weights as its layers are named cannot be compared.
        if known and of_base.get(layer) != [outward, inward]:
            raise BadInput(f"The adapter's '{layer}' does not fit the base model's layer of that name.")


def _base_shapes(base: Path) -> dict[str, list[int]]:
    """{layer: [out, in]} of the base checkpoint, from the heads of its weight files."""
    headers = [safetensors_header(path) for path in sorted(base.glob("*.safetensors"))]
    return {
        name.removesuffix(".weight"): tensor["shape"] for header in headers for name, tensor in header.items()
    }


def _check_finite(path: Path, tensors: dict[str, Any]) -> None:
    with open(path, "rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
        for name, tensor in tensors.items():
            begin, end = tensor["data_offsets"]
            rows, columns = tensor["shape"]
            if begin < 0 or end - begin != rows * columns * _BYTES[tensor["dtype"]]:
                raise BadInput(f"The adapter's '{name[:200]}' is not as large as it says.")
            file.seek(start + begin)
            if not _finite(file.read(end - begin), tensor["dtype"]):
                raise BadInput(f"The adapter's '{name[:200]}' holds a number that is not finite.")


_ALL_ONES = {
    "F32": (bytes(byte & 0x7F == 0x7F for byte in range(256)), bytes(byte >= 0x80 for byte in range(256))),
    "F16": (bytes(byte & 0x7C == 0x7C for byte in range(256)), bytes([1] * 256)),
}
_ALL_ONES["BF16"] = _ALL_ONES["F32"]
"""For the two highest bytes of a number, whether its exponent is all ones there: so are those of NaN and infinity."""


def _finite(data: bytes, dtype: str) -> bool:
    """Whether no number of little-endian `data` is NaN or infinite. Whole columns of bytes at once, for speed."""
    width, (high, low) = _BYTES[dtype], _ALL_ONES[dtype]
    first = int.from_bytes(data[width - 1 :: width].translate(high), "little")
    return not first or not first & int.from_bytes(data[width - 2 :: width].translate(low), "little")


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput(f"The adapter's {path.name} is not a JSON object.")
    return value


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

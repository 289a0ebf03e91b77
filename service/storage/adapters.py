"""Whether an adapter may come in: what the engine would choke on, or serve wrongly, is refused before it sees it.

Owns what an adapter's files must be: safetensors and nothing that runs, plain LoRA, layers and shapes of the base
model, a rank the engine serves, finite numbers; and the manifest of one that was trained elsewhere. Reads them with
the standard library alone. Knows no engine and no database.
"""

import json
import math
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.contract import fingerprint, folder
from service.contract.adapters import UNKNOWN
from service.contract.jobs import Manifest
from service.errors import BadInput
from service.storage.archive import entries, take

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ADAPTER_FILES = frozenset(fingerprint.ADAPTER_FILES)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MAX_HEADER = 10_000_000
"""Bytes of a list of tensors: it is read in one piece."""
SMALL = 1 << 20
"""Bytes of a settings file."""
UNSERVED = {
    "use_dora": "is a DoRA",
    "modules_to_save": "brings fully trained modules",
    "trainable_token_indices": "brings trained embeddings",
    "lora_bias": "brings trained biases",
    "rank_pattern": "has not one rank for all its layers",
    "alpha_pattern": "has not one alpha for all its layers",
    "target_parameters": "changes parameters that are no linear layers",
    "use_qalora": "is a QALoRA",
    "use_bdlora": "is a block-diagonal LoRA",
    "alora_invocation_tokens": "is an activated LoRA",
    "layer_replication": "repeats layers of the base model",
    "megatron_config": "was made for Megatron",
    "arrow_config": "routes among other adapters",
    "kasa_config": "is a KaSA",
    "monteclora_config": "is a MonteCLoRA",
    "fan_in_fan_out": "stores its layers the other way round",
}
"""Settings of PEFT that make an adapter more than plain LoRA, and what it then is."""
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""How matrices were drawn matters to nobody, but the other ways change the base model when PEFT loads the adapter."""
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
    _check_shapes(tensors, servable, settings["r"])
    _check_finite(source / WEIGHTS, tensors)


def must_fit(adapter: Path, servable: Servable) -> None:
    """Raise `BadInput` when an adapter of the store was made for another base model or chat template than is served.

    Somebody may serve another checkpoint of the same shapes tomorrow: the engine would take the adapter, and answer as
    nobody has seen it. Neither changes while the service runs, so each adapter is looked at once.
    """
    if why := _misfit(adapter, servable):
        raise BadInput(why, code="wrong_base_model")


def check_brought(archive: Path) -> list[str]:
    """Names in a ZIP that people bring. Raises `BadInput` unless it holds an adapter's files. Blocking."""
    found = entries(archive)
    if WEIGHTS not in found and any(name.endswith(PICKLES) for name in found):
        raise BadInput(
            "The ZIP holds weights as a pickle, which can run code when it is read. Save them as safetensors: "
            "`model.save_pretrained(folder, safe_serialization=True)`.",
            param="file",
            code="pickle_refused",
        )
    missing = [name for name in (CONFIG, WEIGHTS) if name not in found]
    if missing:
        raise BadInput(
            f"The ZIP holds no {' and no '.join(missing)}. Pack the folder that PEFT's `save_pretrained` wrote.",
            param="file",
            code="invalid_file",
        )
    return sorted(found)


def unpack(archive: Path, into: Path, servable: Servable, *, limit: int, same_base: bool) -> list[str]:
    """An adapter that was brought as a ZIP, with a manifest: its own, which must fit the base model here, or one that
    says that nothing is known of its training. The same files get the same one.

    Returns the names that were left out. Raises `BadInput`, and `OSError` of the disk. Blocking.
    """
    check_brought(archive)
    left_out = take(archive, {WEIGHTS: limit, CONFIG: SMALL, folder.MANIFEST: SMALL}, into)
    base = servable.base
    if not (base / "config.json").is_file():
        raise BadInput(
            f"The base model is not in {base}, so nothing can be held against it. Prepare it first."
        )
    hashes = (fingerprint.base_sha256(base), fingerprint.template_sha256(base))
    if (into / folder.MANIFEST).exists():
        _check_manifest(into, *hashes)
        return left_out
    if not same_base:
        _check_base_name(_object(into / CONFIG).get("base_model_name_or_path"), servable)
    manifest = Manifest(
        kind="import", base_model=servable.base_name, base_sha256=hashes[0], template_sha256=hashes[1],
        train_sha256=None, parent=None, job=None, settings=None, versions={}, created_at=None, note=UNKNOWN,
    )  # fmt: skip
    # What was added to manifests later is left out, so that the same files are the same adapter as before.
    folder.write_json(into / folder.MANIFEST, manifest.model_dump(exclude={"cases", "cases_sha256"}))
    return left_out


def safetensors_header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file: name to dtype, shape and offsets. Raises `BadInput`."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length < MAX_HEADER:
            raise _broken("weights are not a safetensors file.")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise _broken("weights are not a safetensors file.") from None
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise _broken("weights are cut short.")
    return header


@lru_cache(maxsize=4096)
def _misfit(adapter: Path, servable: Servable) -> str | None:
    file = adapter / folder.MANIFEST
    if not file.is_file():
        return None
    try:
        _check_base(_object(file), servable)
    except BadInput as error:
        return error.message
    return None


def _check_manifest(source: Path, base: str, template: str) -> None:
    try:
        manifest = Manifest.model_validate(_object(source / folder.MANIFEST))
    except ValidationError:
        raise BadInput(
            f"The ZIP's {folder.MANIFEST} was not written by Tailorbird. Leave it out.", code="bad_manifest"
        ) from None
    if manifest.base_sha256 != base:
        raise BadInput(
            f"The adapter was made for another base model ('{manifest.base_model}') than the one that is served here: "
            "their files are not the same. Serve the one it was trained on, by TAILORBIRD_BASE_MODEL.",
            code="wrong_base_model",
        )
    _check_template(manifest.template_sha256, template)


def _check_template(made_with: Any, here: str) -> None:
    if made_with != here:
        raise BadInput(
            "The adapter was made with another chat template than the base model here has: it would be asked otherwise "
            "than it was trained. Put back the base model's own template.",
            code="wrong_template",
        )


def _check_base(manifest: dict[str, Any], servable: Servable) -> None:
    name = manifest.get("base_model")
    if name != servable.base_name:
        raise BadInput(
            f"The adapter was made for the base model '{name}'; '{servable.base_name}' is served here.",
            code="wrong_base_model",
        )
    # Where the checkpoint is on another machine, only its name can be compared.
    here = (servable.base / "config.json").is_file()
    if here and manifest.get("base_sha256") != fingerprint.base_sha256(servable.base):
        raise BadInput(
            f"The adapter was made for another checkpoint that is called '{name}' too: its fingerprint is not that of "
            "the one served here. Train it again on this one.",
            code="wrong_base_model",
        )
    if here and "template_sha256" in manifest:
        _check_template(manifest["template_sha256"], fingerprint.template_sha256(servable.base))


def _check_base_name(said: Any, servable: Servable) -> None:
    """Names are held against each other without the folders and owners before them."""
    if not isinstance(said, str) or not said.strip("/\\ "):
        return
    name = re.split(r"[/\\]|--", said.strip().rstrip("/\\"))[-1]
    here = {servable.base_name, re.split(r"[/\\]|--", servable.base.name)[-1]}
    if name.casefold() not in {one.casefold() for one in here}:
        raise BadInput(
            f"The adapter says that it was made for '{said[:200]}'; '{servable.base_name}' is served here. If that is "
            "another name of the same model, send 'same_base_model': true; else serve the one it was made for.",
            param="same_base_model",
            code="wrong_base_model",
        )


def _check_settings(settings: dict[str, Any]) -> None:
    def refuse(what: str, mend: str) -> BadInput:
        return BadInput(f"The adapter {what}. Only plain LoRA is served: {mend}", code="adapter_not_served")

    if settings.get("peft_type") != "LORA":
        raise refuse(f"is of the type {settings.get('peft_type')!r:.60}", "train it again with `LoraConfig`.")
    if settings.get("task_type") not in (None, "CAUSAL_LM"):
        raise refuse("does not write text", 'train it again with `task_type="CAUSAL_LM"`.')
    for name, what in UNSERVED.items():
        if settings.get(name):
            raise refuse(what, f"train it again without `{name}`.")
    if settings.get("bias", "none") != "none":
        raise refuse("brings trained biases", 'train it again with `bias="none"`.')
    init = settings.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise refuse(
            f"was begun by {init[:40]!r}, which changes the base model too",
            "save it with PEFT's `path_initial_model_for_weight_conversion`.",
        )
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise refuse("does not say its rank and alpha", f"put `r` and `lora_alpha` into {CONFIG}.")


def _check_shapes(tensors: dict[str, Any], servable: Servable, stated: int) -> None:
    """Every layer has its two matrices, which fit each other, the base model's layer and the rank stated and served."""
    pairs: dict[str, dict[str, list[int]]] = {}
    for name, tensor in tensors.items():
        named = _NAME.fullmatch(name)
        if named is None or tensor.get("dtype") not in _BYTES or len(tensor.get("shape", ())) != 2:
            raise _broken(f"'{name[:200]}' is no LoRA matrix in fp32, bf16 or fp16.")
        pairs.setdefault(named["layer"], {})[named["side"]] = tensor["shape"]
    if not pairs:
        raise _broken("weights hold no LoRA matrices.")
    of_base = _base_shapes(servable.base)
    known = any(layer in of_base for layer in pairs)
    for layer, sides in pairs.items():
        if layer.rpartition(".")[2] not in servable.layers:
            raise BadInput(
                f"The adapter changes '{layer}'. Served are changes of {', '.join(servable.layers)}.",
                code="adapter_not_served",
            )
        (rank, inward), (outward, columns) = sides.get("A", [0, 0]), sides.get("B", [0, 0])
        if rank < 1 or rank != columns:
            raise _broken(f"two matrices of '{layer}' are not of one rank.")
        if rank > servable.max_rank:
            raise BadInput(
                f"The adapter has rank {rank}; at most {servable.max_rank} is served. Train with a lower "
                "rank, or raise TAILORBIRD_MAX_LORA_RANK.",
                code="rank_not_served",
            )
        if rank != stated:
            raise _broken(
                f"'{layer}' has rank {rank} and its {CONFIG} says {stated}: it would be scaled wrongly. "
                "Take both files from one training."
            )
        # A checkpoint that names none of its weights as its layers are named cannot be compared.
        if known and of_base.get(layer) != [outward, inward]:
            raise BadInput(
                f"The adapter's '{layer}' does not fit the base model's layer of that name: it was made for another "
                "model. Serve that one, by TAILORBIRD_BASE_MODEL.",
                code="wrong_base_model",
            )


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
                raise _broken(f"'{name[:200]}' is not as large as it says.")
            file.seek(start + begin)
            if not _finite(file.read(end - begin), tensor["dtype"]):
                raise BadInput(
                    f"The adapter's '{name[:200]}' holds a number that is not finite.",
                    code="adapter_not_finite",
                )


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
        raise _broken(f"{path.name} is not a JSON object.")
    return value


def _broken(what: str) -> BadInput:
    """Files that are damaged, or not of one adapter."""
    return BadInput(f"The adapter's {what}", code="adapter_broken")

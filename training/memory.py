"""Memory of a training process at its peak: what it may take, by a formula, and what it has taken, by the kernel.

Reads the configuration of a checkpoint and the heads of its weight files, never weights. Owns the formula, whose
doubt is told by whoever uses it. Knows no trainer.
"""

import json
import math
import struct
from collections import Counter
from pathlib import Path

from service.contract.estimates import Shape
from service.contract.jobs import TrainingKind, TrainingSettings

FORWARD_ROWS, FORWARD_TOKENS = 8, 1024
"""As `training.model` bounds a forward pass."""
LIBRARIES = 1.0e9
"""Bytes of the process before it has a model, roughly."""
_NO_LAYERS = ("lm_head", "output", "wte", "wpe")
"""Last parts of names of two-dimensional weights that are embeddings or the output head."""


def peak() -> int | None:
    """Bytes of this process that lay in memory at once, at most; none where the kernel does not say.

    Not by `getrusage`: its figure of a child begins with what the parent had when it started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None


def shape(base: Path, rank: int) -> Shape | None:
    """An adapter's, from the heads of the weight files: every linear layer but the output head."""
    shapes = {
        name: shape for path in sorted(base.glob("*.safetensors")) for name, shape in _head(path).items()
    }
    if not shapes:
        return None
    modules: Counter[str] = Counter()
    parameters = 0
    for name, sizes in shapes.items():
        layer = name.removesuffix(".weight").rpartition(".")[2]
        if name.endswith(".weight") and len(sizes) == 2 and "embed" not in layer and layer not in _NO_LAYERS:
            modules[layer] += 1
            parameters += rank * sum(sizes)
    return Shape(
        modules=dict(sorted(modules.items())), parameters=parameters,
        base_parameters=sum(math.prod(sizes) for sizes in shapes.values()),
    )  # fmt: skip


def expected(base: Path, kind: TrainingKind, settings: TrainingSettings, longest: int) -> int | None:
    """Bytes at the peak on a processor, by a formula; none where the checkpoint does not say its shape.

    The libraries; the base in fp32; the adapter four times (weights, gradients, Adam's two means); and what the
    backward pass needs of each token in a forward pass: in each layer about 16 numbers for each of its width and 4
    for each of its inner width. With the embedded model, measured and by the formula: `sft` in batches of 4 rows of at
    most 69 tokens 1.93 and 2.12 GB, of at most 51 tokens with rank 8 2.04 and 1.95; `dpo` of 4 pairs of at most 54
    tokens 2.46 and 2.37 (all bf16); `sft` of 8 rows of some 250 tokens, on another machine, 4.9 and 5.3. So it was
    wrong by a tenth at most. `kto` and rows above 250 tokens were not measured.
    """
    adapter = shape(base, settings.lora_rank)
    config = json.loads((base / "config.json").read_text())
    layers, width, inner = (
        config.get(name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    if adapter is None or not (layers and width and inner):
        return None
    together = 2 if kind == "kto" else 1
    at_once = min(max(together, min(FORWARD_ROWS, FORWARD_TOKENS // max(longest, 1))), settings.batch_size)
    sequences = 1 if kind == "sft" else 2
    read = at_once * longest * sequences * layers * (16 * width + 4 * inner) * 4
    return round(LIBRARIES + 4 * adapter.base_parameters + 16 * adapter.parameters + read)


def _head(path: Path) -> dict[str, list[int]]:
    """{name: shape} of a safetensors file: the length of its head, then the head as JSON."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))
    return {name: tensor["shape"] for name, tensor in head.items() if name != "__metadata__"}

"""The base model with an adapter or without, asked by transformers in batches.

Brings torch into the process that asks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.places import base_model

Ids = list[int]


def load(adapter: Path | None) -> tuple[Any, Any]:
    """The tokenizer's chat, and the model in the precision that is fast here."""
    import torch
    from peft import PeftModel

    from training.model import load_base, load_chat, multiplies_bf16

    model = load_base(base_model(), torch.bfloat16 if multiplies_bf16() else torch.float32)
    return load_chat(base_model()), PeftModel.from_pretrained(model, adapter) if adapter else model


def in_batches(prompts: list[Ids], size: int, say: Callable[[list[Ids]], list[Ids]]) -> list[Ids]:
    """What `say` gives for each prompt, those of like length asked together."""
    found: dict[int, Ids] = {}
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        found |= dict(zip(batch, say([prompts[at] for at in batch]), strict=True))
    return [found[at] for at in range(len(prompts))]

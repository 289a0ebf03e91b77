"""How fast this machine multiplies matrices of a model's shapes, and how many multiplications training asks for.

Owns the count: what a step needs at least, each frozen weight once forward and once backward.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOKENS, TIMES = 1024, 5
"""Rows of the left matrix, as in a forward pass of the trainer; repetitions, of which the best counts."""


@dataclass(frozen=True)
class Sizes:
    """What of a Llama's configuration the count needs."""

    layers: int
    width: int
    inner: int
    keys: int
    """Width of all keys of a token, or of all values."""
    words: int

    @classmethod
    def read(cls, base: Path) -> "Sizes":
        told = json.loads((base / "config.json").read_text())
        head = told.get("head_dim") or told["hidden_size"] // told["num_attention_heads"]
        return cls(
            told["num_hidden_layers"], told["hidden_size"], told["intermediate_size"],
            told["num_key_value_heads"] * head, told["vocab_size"],
        )  # fmt: skip

    def linear(self) -> Iterator[tuple[int, int]]:
        """(in, out) of each linear layer of one block."""
        width, inner, keys = self.width, self.inner, self.keys
        yield from [(width, width), (width, keys), (width, keys), (width, width)]
        yield from [(width, inner), (width, inner), (inner, width)]


def operations(sizes: Sizes, read: int, learned: int, rank: int) -> float:
    """Floating-point operations of learning from `read` tokens of which `learned` carry loss, attention left out.

    A frozen matrix of n numbers costs 2n a token forward and 2n backward (its own gradient is not asked for), an
    adapter's of m numbers 2m forward and 4m backward, the output head 4 x width x words for each token with loss.
    """
    frozen = sizes.layers * sum(a * b for a, b in sizes.linear())
    adapter = sizes.layers * rank * sum(a + b for a, b in sizes.linear())
    return read * (4 * frozen + 6 * adapter) + learned * 4 * sizes.width * sizes.words


def speed(sizes: Sizes, number: str) -> float:
    """Floating-point operations a second of `torch.mm` over one block's shapes; `number` as `bfloat16`."""
    import torch

    dtype, done, seconds = getattr(torch, number), 0, 0.0
    for into, out in sizes.linear():
        left, right = torch.randn(TOKENS, into).to(dtype), torch.randn(into, out).to(dtype)
        best = float("inf")
        for _ in range(TIMES):
            began = time.perf_counter()
            torch.mm(left, right)
            best = min(best, time.perf_counter() - began)
        done, seconds = done + 2 * TOKENS * into * out, seconds + best
    return done / seconds

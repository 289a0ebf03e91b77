"""A gated layer computed as one operation is the one that transformers computes; one of another kind is left alone."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from training.gate import join_gates

pytestmark = pytest.mark.heavy


def layer(kind: Any, *, dtype: torch.dtype = torch.bfloat16, act: str = "silu", width: int = 96) -> Any:
    torch.manual_seed(4)
    config = LlamaConfig(hidden_size=32, intermediate_size=width, hidden_act=act)
    return kind(config).to(dtype).requires_grad_(False)


def test_outputs_and_gradients_are_those_of_transformers() -> None:
    x = torch.randn(2, 9, 32).bfloat16()
    found = []
    for joined in (True, False):
        made, given = layer(LlamaMLP), x.clone().requires_grad_()
        if joined:
            join_gates(made)
            assert "forward" in vars(made)
        out = made(given)
        (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found.append((out, given.grad))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= 2e-2 * other.abs().max()


def test_a_layer_that_computes_something_else_is_left_as_it_is() -> None:
    class Twice(LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    class Clamped(LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate = self.act_fn(self.gate_proj(x).clamp(max=10))
            return self.down_proj(gate * self.up_proj(x).clamp(-10, 10))

    class WithMore(LlamaMLP):
        def forward(self, x: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + more

    class Bare(torch.nn.Module):
        def __init__(self, config: LlamaConfig) -> None:
            super().__init__()
            whole = LlamaMLP(config)
            self.gate_proj, self.up_proj = whole.gate_proj.weight, whole.up_proj.weight
            self.down_proj, self.act_fn = whole.down_proj.weight, whole.act_fn

    others = [layer(kind) for kind in (Twice, Clamped, WithMore, Bare)]
    others += [layer(LlamaMLP, act="gelu"), layer(LlamaMLP, dtype=torch.float32), layer(LlamaMLP, width=40)]
    for made in others:
        join_gates(made)
        assert "forward" not in vars(made)

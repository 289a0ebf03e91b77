"""A norm computed as one operation is the norm that transformers computes, and one of another kind is left alone."""

from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from training.norm import join_norms

pytestmark = pytest.mark.heavy


def norm(kind: Any, dtype: torch.dtype) -> Any:
    torch.manual_seed(4)
    layer = kind(32)
    torch.nn.init.normal_(layer.weight)
    return layer.to(dtype).requires_grad_(False)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_outputs_and_gradients_are_those_of_transformers(dtype: torch.dtype, near: float) -> None:
    x = torch.randn(2, 9, 32).to(dtype)
    found = []
    for joined in (True, False):
        layer, given = norm(LlamaRMSNorm, dtype), x.clone().requires_grad_()
        if joined:
            join_norms(layer)
            assert "forward" in vars(layer)
        out = layer(given)
        (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found.append((out, given.grad))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= near * other.abs().max()


def test_a_norm_that_computes_something_else_is_left_as_it_is() -> None:
    class OneMore(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) + hidden_states

    layer = norm(OneMore, torch.float32)
    join_norms(layer)
    assert "forward" not in vars(layer)


def test_a_norm_that_is_given_more_than_its_values_is_left_as_it_is() -> None:
    """As the gated norms of some models, which a call with one argument would break or take for plain ones."""

    class Gated(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
            normed = super().forward(hidden_states)
            return normed if gate is None else normed * gate

    layer = norm(Gated, torch.float32)
    join_norms(layer)
    assert "forward" not in vars(layer)

"""Attention by matrix products is torch's own attention, forward and backward."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from training.attention import attend, hide_later

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("keys", [1, 2, 6])
def test_outputs_and_gradients_are_those_of_torch(dtype: torch.dtype, near: float, keys: int) -> None:
    torch.manual_seed(2)
    shapes = [(3, heads, 11, 16) for heads in (6, keys, keys)]
    ours = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    theirs = [one.detach().clone().requires_grad_() for one in ours]
    found = attend(*ours, hide_later(11, 6 // keys, dtype), 0.25)
    wanted = scaled_dot_product_attention(*theirs, is_causal=True, scale=0.25, enable_gqa=True)
    wanted = wanted.transpose(1, 2)
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    for out in (found, wanted):
        (out.float() * weights).sum().backward()
    pairs = [(found, wanted), *((one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))]
    for one, other in pairs:
        assert (one - other).abs().max() <= near * other.abs().max()

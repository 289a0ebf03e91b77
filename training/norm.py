"""Root mean square normalisation as one operation that keeps its input and one number a token for the backward pass.

transformers writes it as seven operations, which autograd keeps in fp32. The same sums in the same precision; in bf16
on a processor by one call (`kernel.py`). Owns that operation. Knows no model: a layer that computes something else is
left as it is.
"""

import inspect
import types
from typing import Any

import torch

from training import kernel


def join_norms(model: Any) -> None:
    """Have each frozen `x / rms(x) * weight` of a model computed as one operation, after a look whether it is one."""
    for layer in model.modules():
        eps = getattr(layer, "variance_epsilon", None)
        weight = getattr(layer, "weight", None)
        if eps is None or weight is None or weight.requires_grad or weight.dim() != 1 or weight.is_meta:
            continue
        if len(inspect.signature(layer.forward).parameters) == 1 and _is_plain(layer, weight, eps):
            layer.forward = types.MethodType(_forward, layer)


def _forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    return _Norm.apply(x, self.weight, self.variance_epsilon)


@torch.no_grad()
def _is_plain(layer: Any, weight: torch.Tensor, eps: float) -> bool:
    x = torch.linspace(-3, 2, 2 * len(weight), dtype=weight.dtype, device=weight.device).view(2, -1)
    wanted, found = layer(x), _Norm.apply(x, weight, eps)
    return wanted.dtype == found.dtype and bool(torch.allclose(wanted, found, rtol=1e-2, atol=1e-3))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float) -> Any:
        if kernel.takes(x, x.shape[-1]) and weight.dtype is x.dtype:
            out, by = kernel.norm(x, weight, eps)
        else:
            with torch.autocast(x.device.type, enabled=False):
                wide = x.float()
                by = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(eps))
                out = (wide * by).to(x.dtype).mul(weight)
        ctx.save_for_backward(x, by, weight)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, by, weight = ctx.saved_tensors
        if by.dim() < x.dim():
            return kernel.norm_backward(gradients[0], x, weight, by), None, None
        even = x.float() * by
        of_even = (gradients[0] * weight).float()
        of_even -= even.mul_((of_even * even).mean(-1, keepdim=True))
        return of_even.mul_(by).to(x.dtype), None, None

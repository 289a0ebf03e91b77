"""A gated layer's `silu(gate(x)) * up(x)` (SwiGLU, arXiv 2002.05202) as one operation, forward and backward, in bf16 on
a processor.

transformers writes it as two, and autograd walks over the values five times to go back. Owns that operation. Knows no
model: a layer that computes something else is left as it is.
"""

import inspect
import types
from typing import Any

import torch

from training import kernel

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")
"""What transformers calls the parts of such a layer in every model that has one."""
NEAR = 0.02
"""How far an output may be from transformers', as a share of its norm."""


def join_gates(model: Any) -> None:
    """Have each `down(silu(gate(x)) * up(x))` of a model computed so, after a look whether it is one."""
    for layer in model.modules():
        parts = [getattr(layer, part, None) for part in PARTS]
        one = all(isinstance(part, torch.nn.Module) for part in parts) and _takes_one(layer)
        if one and _is_plain(layer):
            layer.forward = types.MethodType(_forward, layer)


def _forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = self.gate_proj(x), self.up_proj(x)
    if not kernel.takes(gate, gate.shape[-1]) or up.dtype is not gate.dtype:
        return self.down_proj(self.act_fn(gate) * up)
    return self.down_proj(_Gated.apply(gate, up))


@torch.no_grad()
def _is_plain(layer: Any) -> bool:
    weight = layer.gate_proj.weight
    if weight.device.type != "cpu" or not kernel.takes(weight, weight.shape[0]):
        return False
    x = torch.linspace(-3, 2, 2 * weight.shape[1], dtype=weight.dtype).view(2, -1)
    for given in (x, 1000 * x):  # some models clamp what is large
        wanted, found = layer(given), _forward(layer, given)
        if wanted.dtype is not found.dtype or not (wanted - found).norm() <= NEAR * wanted.norm():
            return False
    return True


def _takes_one(layer: Any) -> bool:
    """Whether a layer is given its values and nothing beside them."""
    return len(inspect.signature(layer.forward).parameters) == 1


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any) -> Any:
        ctx.save_for_backward(gate, up)
        return kernel.gated(gate, up)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return kernel.gated_backward(gradients[0], *ctx.saved_tensors)

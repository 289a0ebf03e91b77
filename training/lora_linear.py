"""A linear layer with its adapter as one operation, forward and backward.

PEFT writes LoRA (arXiv 2106.09685) as four: where processors multiply bf16 matrices by themselves, casting, scaling
and adding whole activations takes longer than the matrices. Here the adapter's product is added by the matrix product
itself, and nothing is cast but the adapter; where the processor has a matrix unit, by one call (`kernel.py`). The same
sums, rounded at fewer places. Owns that operation. Knows no attention, no loss and no trainer.
"""

import types
from typing import Any

import torch
from peft.tuners.lora.layer import Linear

from training import kernel


def join_adapters(policy: Any) -> None:
    """Have each adapted linear layer of a PEFT model computed as one operation where one plain adapter is at work."""
    for layer in policy.modules():
        if type(layer) is Linear and type(layer.base_layer) is torch.nn.Linear:
            layer.forward = types.MethodType(_forward, layer)


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
    apart = self.disable_adapters or self.merged or name not in self.lora_A or name in self.lora_variant
    if apart or args or kwargs or type(self.lora_dropout[name]) is not torch.nn.Identity:
        return Linear.forward(self, x, *args, **kwargs)
    base, down, up = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
    return _Joined.apply(x, base.weight, base.bias, down, up, self.scaling[name])


class _Joined(torch.autograd.Function):
    """`x W + s (x A) B`, in the precision of the frozen `W`."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, down: Any, up: Any, scaling: float) -> Any:
        number = weight.dtype
        flat = x.reshape(-1, x.shape[-1]).to(number)
        ctx.compiled = kernel.takes_linear(flat, weight, bias)
        if ctx.compiled:
            flat = flat.contiguous()
            out, narrow = kernel.linear(flat, weight, bias, down, up, scaling)
        else:
            down, up = down.to(number), up.to(number)
            with torch.autocast(x.device.type, enabled=False):
                narrow = (flat @ down.T).mul_(scaling)
                out = torch.nn.functional.linear(flat, weight, bias).addmm_(narrow, up.T)
        ctx.save_for_backward(flat, narrow, weight, down, up)
        ctx.scaling, ctx.number = scaling, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        flat, narrow, weight, down, up = ctx.saved_tensors
        (gradient,), asked = gradients, ctx.needs_input_grad[0]
        wide, of_x = gradient.reshape(-1, gradient.shape[-1]).to(weight.dtype), None
        if ctx.compiled:
            of_x, of_down, of_up = kernel.linear_backward(
                wide, flat, weight, down, up, ctx.scaling, narrow, asked=asked
            )
        else:
            back = (wide @ up).mul_(ctx.scaling)
            of_down, of_up = (back.T @ flat).float(), (wide.T @ narrow).float()
            if asked:
                of_x = (wide @ weight).addmm_(back, down)
        if of_x is not None:
            of_x = of_x.view(*gradient.shape[:-1], -1).to(ctx.number)
        return of_x, None, None, of_down, of_up, None

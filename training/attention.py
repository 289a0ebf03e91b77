"""Causal attention by plain matrix products, for processors.

torch's own attention on a processor takes most of its time in the backward pass, in loops that do not use the
processor's matrix units: on a Xeon with AMX, 4 rows of 225 tokens, 26 ms of processor time a layer against about 11
here. The probabilities are computed again in the backward pass and not kept. Owns that operation.
Knows no rows.
"""

from typing import Any

import torch

from training import kernel

LONGEST = 1024
"""Tokens of a row up to which this is used: it holds a number for each pair of them, one layer at a time."""


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, later: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """`[B, L, heads, d]` for `[B, heads, L, d]`; keys and values may have fewer heads; `later` is a `hide_later`, which
    is not asked for where `kernel.takes` the query."""
    return _Attention.apply(query, key, value, later, scaling)


def hide_later(length: int, heads: int, dtype: torch.dtype) -> torch.Tensor:
    """`[heads * length, length]`: what is added to scores so that no token sees a later one; `heads` share a key."""
    hidden = torch.full((length, length), float("-inf"), dtype=dtype).triu(1)
    return hidden.repeat(heads, 1)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, later: Any, scaling: float) -> Any:
        shape, keys = query.shape, key.shape[1]
        # The heads that share a key stand one below the other: one product for all of them, and no key copied.
        query = query.reshape(shape[0] * keys, -1, shape[-1])
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        seen = torch.bmm(_probabilities(query, key, later, scaling), value)
        ctx.save_for_backward(query, key, value, later)
        ctx.scaling = scaling
        return seen.view(shape).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, later = ctx.saved_tensors
        gradient = gradients[0].transpose(1, 2)
        shape, rows = gradient.shape, gradient.shape[0]
        gradient = gradient.reshape(query.shape)
        likely = _probabilities(query, key, later, ctx.scaling)
        of_value = torch.bmm(likely.transpose(1, 2), gradient)
        of_likely = torch.bmm(gradient, value.transpose(1, 2))
        if kernel.takes(of_likely) and likely.dtype is of_likely.dtype:
            of_scores = kernel.causal_softmax_backward(of_likely, likely, ctx.scaling)
        else:
            softmax = torch.ops.aten._softmax_backward_data
            of_scores = softmax(of_likely, likely, -1, likely.dtype).mul_(ctx.scaling)
        of_query = torch.bmm(of_scores, key).view(shape)
        of_key = torch.bmm(of_scores.transpose(1, 2), query)
        return of_query, of_key.unflatten(0, (rows, -1)), of_value.unflatten(0, (rows, -1)), None, None


def _probabilities(query: Any, key: Any, later: Any, scaling: float) -> torch.Tensor:
    with torch.autocast(query.device.type, enabled=False):
        if kernel.takes(query):
            return kernel.causal_softmax(torch.bmm(query, key.transpose(1, 2)), scaling)
        return torch.softmax(torch.baddbmm(later, query, key.transpose(1, 2), alpha=scaling), -1)

"""The log-probabilities of the tokens that carry loss, for TRL's trainers on a processor.

TRL's own head walks over the vocabulary in parts, three times, keeps its sums in fp32 and scores every position; that
is made for a GPU. Here a block of tokens is held against the whole vocabulary once, and what the backward pass needs is
made of the same product: the gradient of a token's log-probability is the row of its word less the mean of all rows
under its probabilities. Figures that are only for show (entropy, mean logits) are left out. Owns that operation and
its way into TRL. Knows no rows.
"""

from typing import Any

import torch
import trl.trainer.utils as trl_head

from training import kernel

BLOCK = 128
"""Tokens held against the vocabulary at once: 128 of 49 152 words are 13 MB in bf16, 25 in fp32."""


def score_labels_only() -> None:
    """Have TRL project only the tokens that carry loss onto the vocabulary, on a processor as on a GPU, and our way."""
    if hasattr(trl_head, "_use_triton"):
        trl_head._use_triton = lambda device: True
    if (theirs := getattr(trl_head, "_ChunkedLogProbFunction", None)) not in (None, _Head):
        _Head.theirs = theirs
        trl_head._ChunkedLogProbFunction = _Head  # pyrefly: ignore[bad-assignment]


class _Head:
    """Stands where TRL's function stood, and hands on what it does not do itself."""

    theirs: Any = None

    @classmethod
    def apply(
        cls, hidden: Any, weight: Any, bias: Any, targets: Any, temperature: float, *more: Any
    ) -> tuple[Any, ...]:
        _, softcap, scale, asked = more
        special = bias is not None or temperature != 1.0 or softcap is not None or scale != 1.0
        if special or hidden.device.type != "cpu" or weight.requires_grad:
            return cls.theirs.apply(hidden, weight, bias, targets, temperature, *more)
        found, first = _LogProbs.apply(hidden, weight, targets)
        left_out = torch.zeros_like(found)
        names = ("entropy", "log_sum_sq_probs", "mean_logits")
        return found, *(left_out if name in asked else None for name in names), first


class _LogProbs(torch.autograd.Function):
    """`[N]` log-probabilities of `targets` after `hidden` `[N, width]`, and whether each is the likeliest."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any) -> Any:
        found = torch.empty(len(hidden), dtype=torch.float32)
        first = torch.empty(len(hidden), dtype=torch.bool)
        learns = ctx.needs_input_grad[0]
        slope = torch.empty(hidden.shape, dtype=torch.float32) if learns else None
        narrow = torch.empty(min(BLOCK, len(hidden)), len(weight), dtype=weight.dtype)
        word_powers = kernel.word_powers if kernel.takes(narrow) else _word_powers
        with torch.autocast("cpu", enabled=False):
            for at in range(0, len(hidden), BLOCK):
                block, wanted = slice(at, at + BLOCK), targets[at : at + BLOCK]
                narrow = narrow[: len(wanted)]
                torch.mm(hidden[block].to(weight.dtype), weight.T, out=narrow)
                told, whole = word_powers(narrow, wanted)
                first[block] = told == 0
                found[block] = told - whole.log()
                if slope is not None:
                    mean = (narrow @ weight).float() / whole[:, None]
                    slope[block] = weight[wanted].float() - mean
        ctx.save_for_backward(slope)
        ctx.number = hidden.dtype
        ctx.mark_non_differentiable(first)
        return found, first

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return (slope * gradients[0][:, None]).to(ctx.number), None, None


def _word_powers(scores: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `kernel.word_powers`: the likeliest word's score is 0."""
    wide = scores.float()
    wide -= wide.amax(-1, keepdim=True)
    told = wide.gather(-1, targets[:, None])[:, 0]
    whole = wide.exp_().sum(-1)
    scores.copy_(wide)
    return told, whole

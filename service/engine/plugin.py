"""Runs inside vLLM: LoRA on processors, right and fast. It knows torch and vLLM, as `processor` beside it does.

vLLM 0.32's processor operators look up the adapter of every token by its slot, and a token of the base
model has slot -1: Python's last one. So a base request that shares a step with an adapter's is answered
with the adapter in the last slot (vllm-project/vllm#48421). They also copy the adapter's weights once for
each token. Here a linear layer's adapters are one call of `kernel`, which takes the tokens of a slot together and
never writes to those of the base model. The operators of embeddings and output layer, which the service does not
adapt, are grouped by slot too, in torch.

Registered as `vllm.general_plugins`: `tailorbird_lora`. On any platform but the processor the operators
stay as they are, and so they do on a vLLM whose own ones pass the self-test: what is right needs no mending.
On every platform a process of the engine ends with the one that started it; on a processor, what else vLLM does
there slowly or wrongly is mended by `processor`.
"""

from __future__ import annotations

import functools
import itertools
import logging
from typing import TYPE_CHECKING, Any

from service.contract import native
from service.engine import kernel, processor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

logger = logging.getLogger("vllm.tailorbird")
"""Under vLLM's own, so that it lands in the engine's log."""


def register() -> None:
    """Called by vLLM in each of its processes, before the model is built.

    Raises `RuntimeError` when the replaced operators cannot be compiled or fail their self-test, so that the engine
    never becomes ready rather than answer wrongly.
    """
    _end_with_parent()
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    processor.fork_if_told()
    processor.norm_in_one_operator()
    processor.rotate_every_head()
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    if is_right(PunicaWrapperCPU):
        logger.info("vLLM's own LoRA operators are right on processors: they stay as they are")
        return
    install(PunicaWrapperCPU)
    self_test(PunicaWrapperCPU)


def is_right(wrapper: Any) -> bool:
    """Whether the operators of this class, as they are, pass the self-test."""
    try:
        self_test(wrapper)
    except Exception:  # noqa: BLE001 - operators that cannot even be called are not right either
        return False
    return True


def install(wrapper: Any) -> None:
    """Replace the operators of vLLM's class `PunicaWrapperCPU`. Harmless to repeat. Raises as `kernel.load` does."""
    if getattr(wrapper, "tailorbird", False):
        return
    stock_update = wrapper.update_metadata

    def update_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_update(self, *args, **kwargs)
        self.token_step = Step(self.token_lora_indices)
        self.sampler_step = Step(self.sampler_indices)

    wrapper.update_metadata = update_metadata
    wrapper.add_lora_linear = _add_lora_linear
    wrapper.add_shrink = _add_shrink
    wrapper.add_expand = _add_expand
    wrapper.add_lora_embedding = _add_lora_embedding
    wrapper.add_lora_logits = _add_lora_logits
    wrapper.tailorbird_kernel = kernel.load(native.cache())
    wrapper.tailorbird = True


class Step:
    """Which rows of a step belong to which adapter; rows of the base model belong to none."""

    def __init__(self, slots: torch.Tensor) -> None:
        """`slots`: int64 [tokens], the adapter's slot of each token, -1 for the base model."""
        self.slots = slots.contiguous()

    @functools.cached_property
    def tuned(self) -> bool:
        """Whether any row belongs to an adapter."""
        return bool((self.slots >= 0).any())

    @functools.cached_property
    def groups(self) -> list[tuple[int, torch.Tensor]]:
        """(slot, its rows, int64 [rows]) of each adapter."""
        here = [slot for slot in self.slots.unique().tolist() if slot >= 0]
        return [(slot, (self.slots == slot).nonzero().flatten()) for slot in here]


def _add_lora_linear(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_a_stacked: tuple[torch.Tensor, ...],
    lora_b_stacked: tuple[torch.Tensor, ...],
    scale: float,
    output_slices: tuple[int, ...],
    *,
    buffer: tuple[torch.Tensor, ...] | None = None,
    **kwargs: Any,
) -> None:
    """y[rows, slice] += scale * (x[rows] @ A.T) @ B.T for each adapter of the step, in place.

    y [tokens, sum(output_slices)], x [tokens, in], A [slots, 1, rank, in], B [slots, 1, out, rank]. vLLM makes A and B
    once for each layer, and writes an adapter's weights into them.
    """
    step = self.token_step
    if not step.tuned:
        return
    layers: dict[int, kernel.Layer] = self.__dict__.setdefault("tailorbird_layers", {})
    layer = layers.get(id(lora_a_stacked))
    if layer is None:  # which holds the tuple from then on, so that its id stays its own
        layer = layers[id(lora_a_stacked)] = kernel.Layer(lora_a_stacked, lora_b_stacked, output_slices)
    self.tailorbird_kernel.add(layer, y, x, step.slots, scale)


def _add_shrink(self: Any, y: Any, x: torch.Tensor, lora_a_stacked: Any, scale: float, **kwargs: Any) -> None:
    """y[i][rows] = scale * x[rows] @ A_i.T; other rows of y are left as they are."""
    x = x.view(-1, x.shape[-1])
    for target, a in zip(y, lora_a_stacked, strict=True):
        flat = target.view(-1, target.shape[-1])
        for slot, rows in self.token_step.groups:
            hidden = scale * (x[rows].to(a.dtype) @ a[slot, 0].T)
            flat[rows, : hidden.shape[1]] = hidden.to(flat.dtype)


def _add_expand(
    self: Any,
    y: torch.Tensor,
    x: Any,
    lora_b_stacked: tuple[torch.Tensor, ...],
    output_slices: tuple[int, ...],
    offset_start: int = 0,
    add_inputs: bool = True,
    **kwargs: Any,
) -> None:
    """y[rows, slice] += x[i][rows] @ B_i.T (or `=` when `add_inputs` is false)."""
    flat = y.view(-1, y.shape[-1])
    start = offset_start
    for hidden, b, width in zip(x, lora_b_stacked, output_slices, strict=True):
        for slot, rows in self.token_step.groups:
            if not add_inputs:
                flat[rows, start : start + width] = 0
            _add(flat, rows, hidden[rows].to(b.dtype) @ b[slot, 0].T, 1.0, start, width)
        start += width


def _add_lora_embedding(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_b_stacked: torch.Tensor,
    add_inputs: bool = True,
    **kwargs: Any,
) -> None:
    """y[rows] += x[rows] @ B.T, where x [tokens, rank] is already A's embedding of each token."""
    for slot, rows in self.token_step.groups:
        delta = x[rows].to(lora_b_stacked.dtype) @ lora_b_stacked[slot, 0].T
        _add(y, rows, delta, 1.0, 0, y.shape[-1])


def _add_lora_logits(
    self: Any,
    y: torch.Tensor,
    x: torch.Tensor,
    lora_a_stacked: torch.Tensor,
    lora_b_stacked: torch.Tensor,
    scale: float,
    *,
    buffer: torch.Tensor | None = None,
    **kwargs: Any,
) -> None:
    """The same for the output layer, whose rows are requests rather than tokens."""
    flat, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    for slot, rows in self.sampler_step.groups:
        hidden = x[rows].to(lora_a_stacked.dtype) @ lora_a_stacked[slot, 0].T
        _add(flat, rows, hidden @ lora_b_stacked[slot, 0].T, scale, 0, flat.shape[-1])


def _add(
    y: torch.Tensor, rows: torch.Tensor, delta: torch.Tensor, scale: float, start: int, width: int
) -> None:
    """y[rows, start:start+width] += scale * delta; either may be padded wider than the other."""
    width = min(width, delta.shape[1])
    part = y[:, start : start + width]
    # Rows are named once each, so a copy back will do; `index_add_` takes three to ten times as long.
    part.index_copy_(0, rows, (part[rows] + scale * delta[:, :width]).to(y.dtype))


def self_test(wrapper: Any) -> None:
    """Hold the operators of vLLM's class `PunicaWrapperCPU` against the plain formula. Raises `RuntimeError`.

    Small random tensors, in fp32 and in bf16, as a prefill and as a decode step; base rows before, between and after
    the rows of 2 adapters, then of 4. No size is a multiple of a vector's.
    """
    import torch

    for dtype, tolerated in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        for prefill, slots in itertools.product(
            (True, False), ([-1, 1, 1, -1, 0, 1, -1, 1, 1, 1], [-1, 3, 1, -1, 0, 2, -1])
        ):
            base = torch.tensor(slots) < 0
            for before, after, expected in _tried(wrapper, slots, prefill, dtype):
                untouched = torch.equal(after[base], before[base])
                if not untouched or not torch.allclose(after.float(), expected, atol=tolerated):
                    raise RuntimeError(
                        "Tailorbird's LoRA operators do not agree with this vLLM. Install the vLLM version that "
                        "Tailorbird names in pyproject.toml."
                    )


def _tried(
    wrapper: Any, slots: list[int], prefill: bool, dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, ...]]:
    """(before, after, as it should be), of each way in which vLLM lets an adapter change a layer's output."""
    import torch
    from vllm.lora.layers import LoRAMapping

    random, slices, rank = torch.Generator().manual_seed(0), (40, 20, 20), 18

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=random) / shape[-1] ** 0.5).to(dtype)

    made, ids = wrapper(16, 16, "cpu"), tuple(slot + 1 for slot in slots)
    made.update_metadata(LoRAMapping(ids, ids, is_prefill=prefill), [1, 2, 3, 4], 4, 100)
    x, before = draw(len(slots), 38) * 6, draw(len(slots), 80) * 6
    a, b = tuple(draw(4, 1, rank, 38) for _ in slices), tuple(draw(4, 1, width, rank) for width in slices)
    whole = torch.cat(b, 2)

    expected, after = _plain(before, slots, x, a, b), before.clone()
    made.add_lora_linear(after, x, a, b, 0.5, slices)
    yield before, after, expected

    hidden, after = tuple(torch.zeros(len(slots), rank) for _ in slices), before.clone()
    made.add_shrink(hidden, x, a, 0.5)
    made.add_expand(after, hidden, b, slices)
    yield before, after, expected

    after = before.clone()
    made.add_lora_logits(after, x, a[0], whole, 0.5)
    yield before, after, _plain(before, slots, x, a[:1], (whole,))

    embedded, after = x[:, :rank].contiguous(), before.clone()
    twice = 2 * torch.eye(rank).expand(4, 1, rank, rank)
    made.add_lora_embedding(after, embedded, whole)
    yield before, after, _plain(before, slots, embedded, (twice,), (whole,))


def _plain(y: torch.Tensor, slots: list[int], x: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    """The formula of PEFT with scale 0.5, row by row, in fp32."""
    import torch

    y, x = y.float().clone(), x.float()
    for row, slot in enumerate(slots):
        if slot >= 0:
            deltas = [q[slot, 0].float() @ (p[slot, 0].float() @ x[row]) for p, q in zip(a, b, strict=True)]
            y[row] += 0.5 * torch.cat(deltas)
    return y


def _end_with_parent() -> None:
    """Let a process that vLLM started end when its parent does, even by SIGKILL.

    vLLM 0.32's engine core and its worker were seen to live on, with all their memory, when the API server
    above them was killed. A thread waits on the pipe that `multiprocessing` keeps to the parent. A process that is
    forked from this one does not come here again: it asks the kernel (PR_SET_PDEATHSIG, prctl(2)).
    """
    import ctypes
    import multiprocessing
    import os
    import signal
    import threading

    system = ctypes.CDLL(None)
    os.register_at_fork(after_in_child=lambda: system.prctl(1, signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()

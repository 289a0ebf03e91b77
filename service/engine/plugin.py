"""Runs inside vLLM: LoRA on processors, right and fast. The one file of ours that knows torch and vLLM.

vLLM 0.32's processor operators look up the adapter of every token by its slot, and a token of the base
model has slot -1: Python's last one. So a base request that shares a step with an adapter's is answered
with the adapter in the last slot (vllm-project/vllm#48421). They also copy the adapter's weights once for
each token. Here the tokens of a step are grouped by slot, once a step; each group is one small matrix
product; tokens of the base model are in no group and are never written to. An adapter's products are made in
fp32: for matrices this small that takes a quarter of what oneDNN takes in bf16, and rounds less.

Registered as `vllm.general_plugins`: `tailorbird_lora`. On any platform but the processor the operators
stay as they are, and so they do on a vLLM whose own ones pass the self-test: what is right needs no mending.
On every platform a process of the engine ends with the one that started it; on a processor it is forked, if the
environment says so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

logger = logging.getLogger("vllm.tailorbird")
"""Under vLLM's own, so that it lands in the engine's log."""

GROUPS, SCATTERED = 4, 4
"""More adapters in a step than this, with fewer tokens to each on average: then one batched product over copied
weights beats a product for each adapter (adapters of rank 16, one token each, SmolLM2-135M's layers, one thread:
8 adapters 62 ms against 86, 5 adapters 37 and 37)."""


def register() -> None:
    """Called by vLLM in each of its processes, before the model is built.

    Raises `RuntimeError` when the replaced operators fail their self-test, so that the engine never
    becomes ready rather than answer wrongly.
    """
    _end_with_parent()
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    _fork_if_told()
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    if is_right(PunicaWrapperCPU):
        logger.info("vLLM's own LoRA operators are right on processors: they stay as they are")
        return
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    install(PunicaWrapperCPU)
    install_layers(BaseLinearLayerWithLoRA)
    self_test(PunicaWrapperCPU)


def is_right(wrapper: Any) -> bool:
    """Whether the operators of this class, as they are, pass the self-test."""
    try:
        self_test(wrapper)
    except Exception:  # noqa: BLE001 - operators that cannot even be called are not right either
        return False
    return True


def install(wrapper: Any) -> None:
    """Replace the operators of vLLM's class `PunicaWrapperCPU`. Harmless to repeat."""
    if getattr(wrapper, "tailorbird", False):
        return
    stock_update = wrapper.update_metadata

    def update_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_update(self, *args, **kwargs)
        self.token_step = Step.of(self.token_lora_indices)
        self.sampler_step = Step.of(self.sampler_indices)

    wrapper.update_metadata = update_metadata
    wrapper.add_lora_linear = _add_lora_linear
    wrapper.add_shrink = _add_shrink
    wrapper.add_expand = _add_expand
    wrapper.add_lora_embedding = _add_lora_embedding
    wrapper.add_lora_logits = _add_lora_logits
    wrapper.tailorbird = True


def install_layers(layer: Any) -> None:
    """Have vLLM's class `BaseLinearLayerWithLoRA` forget the copy of a slot that it empties.

    vLLM 0.32 empties a slot before it fills it, in each of its linear layers, and writes to it nowhere else. Harmless
    to repeat.
    """
    if hasattr(layer, "tailorbird"):
        return
    stock_reset = layer.reset_lora

    def reset_lora(self: Any, index: int) -> None:
        stock_reset(self, index)
        kept = getattr(getattr(self, "punica_wrapper", None), "factors", {})
        kept.pop((id(self.lora_a_stacked[0]), index), None)

    layer.reset_lora = reset_lora
    layer.tailorbird = True


@dataclass(frozen=True)
class Step:
    """Which rows of a step belong to which adapter; rows of the base model belong to none."""

    groups: list[tuple[int, slice | torch.Tensor]]
    """(slot, its rows): a slice when they lie together, else int64 [rows]."""
    scattered: tuple[torch.Tensor, torch.Tensor] | None
    """(rows, their slots), int64 [rows] each, when many adapters have few rows; else None."""

    @staticmethod
    def of(slots: torch.Tensor) -> Step:
        """`slots`: int64 [tokens], the adapter's slot of each token, -1 for the base model."""
        import torch

        values, counts = torch.unique_consecutive(slots, return_counts=True)
        runs: dict[int, list[tuple[int, int]]] = {}
        start = total = 0
        for slot, count in zip(values.tolist(), counts.tolist(), strict=True):
            if slot >= 0:
                runs.setdefault(slot, []).append((start, start + count))
                total += count
            start += count
        groups: list[tuple[int, slice | torch.Tensor]] = []
        for slot, spans in runs.items():
            one = slice(*spans[0]) if len(spans) == 1 else None
            groups.append((slot, one or torch.cat([torch.arange(a, b) for a, b in spans])))
        rows = None
        if len(groups) > GROUPS and total < SCATTERED * len(groups):
            rows = (slots >= 0).nonzero().flatten()
        return Step(groups, None if rows is None else (rows, slots[rows]))


class Factors(NamedTuple):
    """An adapter's weights in one layer as they are multiplied, fp32: a copy of what vLLM put into the slot."""

    source: torch.Tensor
    """The first tensor that was copied. While it is held here, no other can stand in its place."""
    a: torch.Tensor
    """[in, rank of all slices], side by side: the layer's input is multiplied once."""
    b: list[torch.Tensor]
    """[rank, out] of each slice."""

    @staticmethod
    def of(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...], slot: int) -> Factors:
        import torch

        down = torch.cat([each[slot, 0] for each in a]).float().T.contiguous()
        return Factors(a[0], down, [each[slot, 0].float().T.contiguous() for each in b])


def _factors(self: Any, a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...], slot: int) -> Factors:
    """Kept by layer and slot, until the slot is emptied: see `install_layers`."""
    kept: dict[tuple[int, int], Factors] = self.__dict__.setdefault("factors", {})
    place = id(a[0]), slot
    if place not in kept:
        kept[place] = Factors.of(a, b, slot)
    return kept[place]


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

    y [tokens, sum(output_slices)], x [tokens, in], A [slots, 1, rank, in], B [slots, 1, out, rank].
    """
    if self.token_step.scattered is not None:
        layers = zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True)
        _add_scattered(y, x, layers, scale, *self.token_step.scattered)
        return
    for slot, rows in self.token_step.groups:
        factors = _factors(self, lora_a_stacked, lora_b_stacked, slot)
        hidden, start, at = _take(x, rows).float() @ factors.a, 0, 0
        for b, width in zip(factors.b, output_slices, strict=True):
            _add(y, rows, hidden[:, at : at + len(b)] @ b, scale, start, width)
            start, at = start + width, at + len(b)


def _add_scattered(
    y: torch.Tensor, x: torch.Tensor, layers: Any, scale: float, rows: Any, slots: Any
) -> None:
    """The same, of rows with a slot each; `layers` are A, B and width of each slice."""
    inputs, start = _take(x, rows).float().unsqueeze(2), 0
    for a, b, width in layers:
        hidden = a[:, 0].index_select(0, slots).float() @ inputs
        delta = (b[:, 0].index_select(0, slots).float() @ hidden).squeeze(2)
        _add(y, rows, delta, scale, start, width)
        start += width


def _add_shrink(self: Any, y: Any, x: torch.Tensor, lora_a_stacked: Any, scale: float, **kwargs: Any) -> None:
    """y[i][rows] = scale * x[rows] @ A_i.T; other rows of y are left as they are."""
    x = x.view(-1, x.shape[-1])
    for target, a in zip(y, lora_a_stacked, strict=True):
        flat = target.view(-1, target.shape[-1])
        for slot, rows in self.token_step.groups:
            hidden = scale * (_take(x, rows).to(a.dtype) @ a[slot, 0].T)
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
            _add(flat, rows, _take(hidden, rows).to(b.dtype) @ b[slot, 0].T, 1.0, start, width)
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
        delta = _take(x, rows).to(lora_b_stacked.dtype) @ lora_b_stacked[slot, 0].T
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
        hidden = _take(x, rows).to(lora_a_stacked.dtype) @ lora_a_stacked[slot, 0].T
        _add(flat, rows, hidden @ lora_b_stacked[slot, 0].T, scale, 0, flat.shape[-1])


def _add(
    y: torch.Tensor, rows: slice | torch.Tensor, delta: torch.Tensor, scale: float, start: int, width: int
) -> None:
    """y[rows, start:start+width] += scale * delta; either may be padded wider than the other."""
    width = min(width, delta.shape[1])
    delta = delta[:, :width] if scale == 1.0 else delta[:, :width] * scale
    part = y[:, start : start + width]
    if isinstance(rows, slice):
        part[rows] += delta
    else:
        # Rows are named once each, so a copy back will do; `index_add_` takes three to ten times as long.
        part.index_copy_(0, rows, (part.index_select(0, rows) + delta).to(y.dtype))


def _take(x: torch.Tensor, rows: slice | torch.Tensor) -> torch.Tensor:
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


def self_test(wrapper: Any) -> None:
    """Hold the operators of vLLM's class `PunicaWrapperCPU` against the plain formula. Raises `RuntimeError`.

    Small random tensors, as a prefill and as a decode step; base rows before, between and after the rows
    of 2 adapters, then of 4.
    """
    import torch

    for prefill in (True, False):
        for slots in ([-1, 1, 1, -1, 0, 1, -1, 1], [-1, 3, 1, -1, 0, 2, -1]):
            base = torch.tensor(slots) < 0
            for before, after, expected in _tried(wrapper, slots, prefill):
                if not torch.equal(after[base], before[base]) or not torch.allclose(
                    after, expected, atol=1e-4
                ):
                    raise RuntimeError(
                        "Tailorbird's LoRA operators do not agree with this vLLM. Install the vLLM version that "
                        "Tailorbird names in pyproject.toml."
                    )


def _tried(wrapper: Any, slots: list[int], prefill: bool) -> Iterator[tuple[torch.Tensor, ...]]:
    """(before, after, as it should be), of each way in which vLLM lets an adapter change a layer's output."""
    import torch
    from vllm.lora.layers import LoRAMapping

    random, slices = torch.Generator().manual_seed(0), (8, 4, 4)
    made, ids = wrapper(16, 16, "cpu"), tuple(slot + 1 for slot in slots)
    made.update_metadata(LoRAMapping(ids, ids, is_prefill=prefill), [1, 2, 3, 4], 4, 100)
    x = torch.randn(len(slots), 6, generator=random)
    before = torch.randn(len(slots), 16, generator=random)
    a = tuple(torch.randn(4, 1, 3, 6, generator=random) for _ in slices)
    b = tuple(torch.randn(4, 1, width, 3, generator=random) for width in slices)
    whole = torch.cat(b, 2)

    expected, after = _plain(before, slots, x, a, b), before.clone()
    made.add_lora_linear(after, x, a, b, 0.5, slices)
    yield before, after, expected

    hidden, after = tuple(torch.zeros(len(slots), 3) for _ in slices), before.clone()
    made.add_shrink(hidden, x, a, 0.5)
    made.add_expand(after, hidden, b, slices)
    yield before, after, expected

    after = before.clone()
    made.add_lora_logits(after, x, a[0], whole, 0.5)
    yield before, after, _plain(before, slots, x, a[:1], (whole,))

    embedded, twice, after = x[:, :3].contiguous(), 2 * torch.eye(3).expand(4, 1, 3, 3), before.clone()
    made.add_lora_embedding(after, embedded, whole)
    yield before, after, _plain(before, slots, embedded, (twice,), (whole,))


def _plain(y: torch.Tensor, slots: list[int], x: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    """The formula of PEFT with scale 0.5, row by row."""
    import torch

    y = y.clone()
    for row, slot in enumerate(slots):
        if slot >= 0:
            y[row] += 0.5 * torch.cat([q[slot, 0] @ (p[slot, 0] @ x[row]) for p, q in zip(a, b, strict=True)])
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

    kernel = ctypes.CDLL(None)
    os.register_at_fork(after_in_child=lambda: kernel.prctl(1, signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _fork_if_told() -> None:
    """Let `VLLM_WORKER_MULTIPROC_METHOD=fork` stand.

    vLLM 0.32 sets it to `spawn` on every processor, and then imports all of itself once more: 9 s of the 32 that a
    start takes, and 0.26 GB.
    """
    import os

    from vllm.platforms.cpu import CpuPlatform

    name = "VLLM_WORKER_MULTIPROC_METHOD"
    if os.environ.get(name) != "fork" or hasattr(CpuPlatform, "tailorbird"):
        return
    stock = CpuPlatform.check_and_update_config

    def check_and_update_config(vllm_config: Any) -> None:
        stock(vllm_config)
        os.environ[name] = "fork"

    CpuPlatform.check_and_update_config = staticmethod(check_and_update_config)
    CpuPlatform.tailorbird = True

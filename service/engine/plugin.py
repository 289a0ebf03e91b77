"""Runs inside vLLM: LoRA on processors, right and fast. The one file of ours that knows torch and vLLM.

vLLM 0.32's processor operators look up the adapter of every token by its slot, and a token of the base
model has slot -1: Python's last one. So a base request that shares a step with an adapter's is answered
with the adapter in the last slot (vllm-project/vllm#48421). They also copy the adapter's weights once for
each token. Here the tokens of a step are grouped by slot, once a step; each group is one small matrix
product; tokens of the base model are in no group and are never written to.

Registered as `vllm.general_plugins`: `tailorbird_lora`. On any platform but the processor it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Rows = "slice | torch.Tensor"


def register() -> None:
    """Called by vLLM in each of its processes, before the model is built.

    Raises `RuntimeError` when the replaced operators fail their self-test, so that the engine never
    becomes ready rather than answer wrongly.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    if getattr(PunicaWrapperCPU, "tailorbird", False):
        return
    stock_update = PunicaWrapperCPU.update_metadata

    def update_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_update(self, *args, **kwargs)
        self.token_groups = group_rows(self.token_lora_indices)
        self.sampler_groups = group_rows(self.sampler_indices)

    for name, method in (
        ("update_metadata", update_metadata),
        ("add_lora_linear", _add_lora_linear),
        ("add_shrink", _add_shrink),
        ("add_expand", _add_expand),
        ("add_lora_embedding", _add_lora_embedding),
        ("add_lora_logits", _add_lora_logits),
    ):
        setattr(PunicaWrapperCPU, name, method)
    PunicaWrapperCPU.tailorbird = True
    self_test()


def group_rows(slots: torch.Tensor) -> list[tuple[int, slice | torch.Tensor]]:
    """Rows of each adapter: [(slot, rows)], slot -1 (the base model) left out.

    `slots`: int64 [tokens]. Rows are a slice when they lie together, else an int64 index [rows].
    """
    import torch

    values, counts = torch.unique_consecutive(slots, return_counts=True)
    runs: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for slot, count in zip(values.tolist(), counts.tolist(), strict=True):
        if slot >= 0:
            runs.setdefault(slot, []).append((start, start + count))
        start += count
    groups: list[tuple[int, slice | torch.Tensor]] = []
    for slot, spans in runs.items():
        if len(spans) == 1:
            groups.append((slot, slice(*spans[0])))
        else:
            groups.append((slot, torch.cat([torch.arange(a, b) for a, b in spans])))
    return groups


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
    for slot, rows in self.token_groups:
        inputs = x[rows]
        start = 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            hidden = inputs.to(a.dtype) @ a[slot, 0].T
            _add(y, rows, hidden, b[slot, 0], scale, start, width)
            start += width


def _add_shrink(self: Any, y: Any, x: torch.Tensor, lora_a_stacked: Any, scale: float, **kwargs: Any) -> None:
    """y[i][rows] = scale * x[rows] @ A_i.T; other rows of y are left as they are."""
    x = x.view(-1, x.shape[-1])
    for target, a in zip(y, lora_a_stacked, strict=True):
        flat = target.view(-1, target.shape[-1])
        for slot, rows in self.token_groups:
            weight = a[slot, 0]
            flat[rows, : weight.shape[0]] = (scale * (x[rows].to(weight.dtype) @ weight.T)).to(flat.dtype)


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
        for slot, rows in self.token_groups:
            if not add_inputs:
                flat[rows, start : start + width] = 0
            _add(flat, rows, hidden[rows], b[slot, 0], 1.0, start, width)
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
    for slot, rows in self.token_groups:
        _add(y, rows, x[rows], lora_b_stacked[slot, 0], 1.0, 0, y.shape[-1])


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
    for slot, rows in self.sampler_groups:
        a = lora_a_stacked[slot, 0]
        _add(flat, rows, x[rows].to(a.dtype) @ a.T, lora_b_stacked[slot, 0], scale, 0, flat.shape[-1])


def _add(
    y: torch.Tensor,
    rows: slice | torch.Tensor,
    hidden: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    start: int,
    width: int,
) -> None:
    """y[rows, start:start+width] += scale * hidden @ b.T; the layer may be padded wider than b, or b than it."""
    width = min(width, b.shape[0])
    delta = hidden.to(b.dtype) @ b[:width].T
    if scale != 1.0:
        delta *= scale
    part = y[:, start : start + width]
    if isinstance(rows, slice):
        part[rows] += delta.to(y.dtype)
    else:
        part.index_add_(0, rows, delta.to(y.dtype))


def self_test() -> None:
    """Hold the operators against the plain formula. Raises `RuntimeError` when they differ.

    Small random tensors; adapters at slots 0 and 1 of 2, and base rows before, between and after them.
    """
    import torch
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    random = torch.Generator().manual_seed(0)
    wrapper = PunicaWrapperCPU(16, 16, "cpu")
    slots = torch.tensor([-1, 1, 1, -1, 0, 1, -1])
    wrapper.token_groups = group_rows(slots)
    slices = (8, 4, 4)
    x = torch.randn(7, 6, generator=random)
    before = torch.randn(7, 16, generator=random)
    a = tuple(torch.randn(2, 1, 3, 6, generator=random) for _ in slices)
    b = tuple(torch.randn(2, 1, width, 3, generator=random) for width in slices)
    after = before.clone()
    wrapper.add_lora_linear(after, x, a, b, 0.5, slices)
    expected = before.clone()
    for row, slot in enumerate(slots.tolist()):
        if slot >= 0:
            deltas = [0.5 * (q[slot, 0] @ (p[slot, 0] @ x[row])) for p, q in zip(a, b, strict=True)]
            expected[row] += torch.cat(deltas)
    base = slots < 0
    if not torch.equal(after[base], before[base]) or not torch.allclose(after, expected, atol=1e-4):
        raise RuntimeError(
            "Tailorbird's LoRA operators do not agree with this vLLM. Install the vLLM version that "
            "Tailorbird names in pyproject.toml."
        )

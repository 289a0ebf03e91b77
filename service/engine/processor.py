"""Runs inside vLLM: what version 0.32 does slowly or wrongly on processors, LoRA apart. Each function mends one thing.

Called by `plugin`, before the model is built; each may be called again, and does nothing then. To be looked at, and
deleted where vLLM does it itself, whenever the version in `pyproject.toml` is raised.
"""

from __future__ import annotations

import functools
import os
from typing import Any


def fork_if_told() -> None:
    """Let `VLLM_WORKER_MULTIPROC_METHOD=fork` stand.

    vLLM 0.32 sets it to `spawn` on every processor, and then imports all of itself once more: 9 s of the 32 that a
    start takes, and 0.26 GB.
    """
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


def norm_in_one_operator() -> None:
    """Where vLLM compiles nothing, as with LoRA on processors, let its norms be its own C++ operators.

    vLLM 0.32 has them for processors and registers them for GPUs only. What it takes instead are seven operators of
    torch for each norm, a fifth of the time that a token takes (SmolLM2-135M, 61 norms).
    """
    import torch
    from vllm import ir
    from vllm.config import CompilationMode
    from vllm.platforms.cpu import CpuPlatform

    if "tailorbird" in ir.ops.rms_norm.impls:
        return

    def alike(x: Any, weight: Any, epsilon: float, variance_size: int | None = None) -> bool:
        known = variance_size is None and weight is not None and x.shape[-1] % 8 == 0
        return known and weight.dtype == x.dtype and x.is_contiguous()

    def both_alike(
        x: Any, x_residual: Any, weight: Any, epsilon: float, variance_size: int | None = None
    ) -> bool:
        matching = x_residual.dtype == x.dtype and x_residual.shape == x.shape and x_residual.is_contiguous()
        return matching and alike(x, weight, epsilon, variance_size)

    @ir.ops.rms_norm.register_impl("tailorbird", supports_args=alike)
    @functools.wraps(ir.ops.rms_norm.impls["native"].impl_fn)  # vLLM compares the signatures
    def rms_norm(x: Any, weight: Any, epsilon: float, variance_size: int | None = None) -> Any:
        out = torch.empty_like(x)
        torch.ops._C.rms_norm(out, x, weight, epsilon)
        return out

    @ir.ops.fused_add_rms_norm.register_impl("tailorbird", supports_args=both_alike, inplace=True)
    @functools.wraps(ir.ops.fused_add_rms_norm.impls["native"].impl_fn)
    def fused_add_rms_norm(
        x: Any, x_residual: Any, weight: Any, epsilon: float, variance_size: int | None = None
    ) -> Any:
        torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
        return x, x_residual

    stock = CpuPlatform.get_default_ir_op_priority

    def get_default_ir_op_priority(vllm_config: Any) -> Any:
        priority = stock(vllm_config)
        if vllm_config.compilation_config.mode == CompilationMode.NONE:
            priority.rms_norm = ["tailorbird", *priority.rms_norm]
            priority.fused_add_rms_norm = ["tailorbird", *priority.fused_add_rms_norm]
        return priority

    CpuPlatform.get_default_ir_op_priority = staticmethod(get_default_ir_op_priority)


def rotate_every_head() -> None:
    """Leave to torch what vLLM's C++ rotation for processors gets wrong.

    vLLM 0.32's takes a query [tokens, heads, size] for [rows, heads * size] and rotates only the first rows of it. Most
    models give it [tokens, heads * size], for which it is right.
    """
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding

    if hasattr(RotaryEmbedding, "tailorbird"):
        return
    stock = RotaryEmbedding.forward_cpu

    def forward_cpu(self: Any, positions: Any, query: Any, key: Any = None) -> Any:
        flat = positions.dim() == 1 and query.dim() == 2 and (key is None or key.dim() == 2)
        return (stock if flat else type(self).forward_native)(self, positions, query, key)

    RotaryEmbedding.forward_cpu = forward_cpu
    RotaryEmbedding.tailorbird = True

"""What is mended in vLLM on processors, against what vLLM computes itself."""

from types import SimpleNamespace

import pytest
import torch

from service.engine import processor

pytestmark = pytest.mark.heavy  # quick in itself, but torch is not


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_in_one_operator_is_what_vllm_computes_in_seven(dtype: torch.dtype):
    from vllm import ir
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    processor.norm_in_one_operator()
    x, residual, weight = torch.randn(5, 64).to(dtype), torch.randn(5, 64).to(dtype), torch.rand(64).to(dtype)
    norms = (
        (ir.ops.rms_norm, lambda: (x, weight, 1e-5)),
        (ir.ops.fused_add_rms_norm, lambda: (x.clone(), residual.clone(), weight, 1e-5)),
    )
    bound = 1e-5 if dtype is torch.float32 else 2e-2  # vLLM's own is rounded once more, before the weight
    for norm, arguments in norms:
        ours, native = norm.impls["tailorbird"], norm.impls["native"]
        assert ours.supports_args(*arguments())
        torch.testing.assert_close(
            ours.impl_fn(*arguments()), native.impl_fn(*arguments()), rtol=bound, atol=bound
        )
    apart = torch.randn(5, 128).to(dtype)[:, :64]
    ours = ir.ops.rms_norm.impls["tailorbird"]
    assert not ours.supports_args(apart, weight, 1e-5), "rows that lie apart are vLLM's own"
    assert not ours.supports_args(x, weight.double(), 1e-5)
    assert not ours.supports_args(x, None, 1e-5)
    assert not ours.supports_args(torch.randn(5, 20).to(dtype), weight[:20], 1e-5), (
        "vLLM's takes eight at a time"
    )
    both = ir.ops.fused_add_rms_norm.impls["tailorbird"]
    assert not both.supports_args(x, residual[:4], weight, 1e-5)
    assert not both.supports_args(x, residual.double(), weight, 1e-5)


@pytest.mark.parametrize("neox", [True, False])
def test_every_head_is_rotated_whether_heads_lie_apart_or_in_a_row(neox: bool):
    """vLLM's C++ rotation on processors takes the heads of a query in three dimensions for tokens."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding

    processor.rotate_every_head()
    with set_current_vllm_config(VllmConfig()):
        rotary = RotaryEmbedding(16, 16, 64, 10000, neox, torch.float32)
    positions, query, key = torch.arange(3, 7), torch.randn(4, 48), torch.randn(4, 16)
    expected = rotary.forward_native(positions, query.clone(), key.clone())
    in_a_row = rotary.forward_cpu(positions, query.clone(), key.clone())
    apart = rotary.forward_cpu(positions, query.clone().view(4, 3, 16), key.clone().view(4, 1, 16))
    for found in (in_a_row, apart):
        torch.testing.assert_close(found[0].reshape(4, 48), expected[0])
        torch.testing.assert_close(found[1].reshape(4, 16), expected[1])


def test_where_vllm_compiles_its_norms_are_left_to_the_compiler():
    from vllm.config import CompilationMode
    from vllm.platforms.cpu import CpuPlatform

    processor.norm_in_one_operator()
    first = {}
    for mode in (CompilationMode.NONE, CompilationMode.DYNAMO_TRACE_ONCE):
        config = SimpleNamespace(compilation_config=SimpleNamespace(mode=mode))
        first[mode] = CpuPlatform.get_default_ir_op_priority(config).rms_norm[0]
    assert first == {CompilationMode.NONE: "tailorbird", CompilationMode.DYNAMO_TRACE_ONCE: "native"}

"""Our head says what TRL's says of the tokens that carry loss, and gives the same gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
import trl.trainer.utils as trl_head

from training import model, output_head

pytestmark = pytest.mark.heavy


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL as it comes, whatever was trained in this process before."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction, _use_triton

    monkeypatch.setattr(trl_head, "_use_triton", _use_triton)
    monkeypatch.setattr(trl_head, "_ChunkedLogProbFunction", ChunkedLogProbFunction)


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_log_probabilities_and_gradients_are_those_of_trl(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Path, dtype: torch.dtype, near: float
) -> None:
    base = model.load_base(tiny_base, dtype)
    for name, weight in base.named_parameters():
        weight.requires_grad_("layers" in name)
    trl_head.add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    ids = torch.arange(3, 43).reshape(2, 20)
    labels = ids.clone()
    labels[:, :12] = -100

    def computed() -> list[Any]:
        base.zero_grad()
        out = base(input_ids=ids, labels=labels, fused_lm_head=True)
        (out.log_probs * torch.linspace(0, 1, 19)).sum().backward()
        gradient = base.model.layers[0].mlp.up_proj.weight.grad.clone()
        return [out.log_probs.detach(), gradient, out.is_top1 & out.label_mask]

    wanted = computed()
    monkeypatch.setattr(output_head, "BLOCK", 5)
    output_head.score_labels_only()
    assert trl_head._ChunkedLogProbFunction is output_head._Head
    found = computed()
    for one, other in zip(found[:2], wanted[:2], strict=True):
        assert (one - other).abs().max() <= near * other.abs().max()
    assert torch.equal(found[2], wanted[2])


@pytest.mark.usefixtures("theirs")
def test_a_head_that_is_trained_is_left_to_trl() -> None:
    output_head.score_labels_only()
    hidden, weight = torch.randn(4, 8), torch.randn(300, 8, requires_grad=True)
    found = trl_head._ChunkedLogProbFunction.apply(
        hidden, weight, None, torch.arange(4), 1.0, 128, None, 1.0, ()
    )
    found[0].sum().backward()
    assert weight.grad is not None

"""An adapted layer computed as one operation is the layer that PEFT computes, forward and backward."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from training.lora_linear import join_adapters

pytestmark = pytest.mark.heavy


def policy(dtype: torch.dtype, *, bias: bool = False, dropout: float = 0.0, times: int = 1) -> Any:
    torch.manual_seed(5)
    inner, outer, last = (width * times for width in (24, 40, 8))
    layers = torch.nn.Sequential(
        torch.nn.Linear(inner, outer, bias=bias), torch.nn.SiLU(), torch.nn.Linear(outer, last)
    )
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["0", "2"], lora_dropout=dropout)
    made = get_peft_model(layers.to(dtype), config)
    for name, weight in made.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return made


def computed(model: Any, x: torch.Tensor, autocast: bool) -> list[torch.Tensor]:
    """The output, and the gradients of input and adapter."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return [out, x.grad, *(weight.grad for weight in model.parameters() if weight.grad is not None)]


@pytest.mark.parametrize("times", [1, 4])  # four times as wide, a matrix unit takes it
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_outputs_and_gradients_are_those_of_peft(
    dtype: torch.dtype, near: float, bias: bool, times: int
) -> None:
    x = torch.randn(2, 7 * times**2, 24 * times, dtype=dtype)
    plain, joined = (policy(dtype, bias=bias, times=times) for _ in range(2))
    join_adapters(joined)
    wanted, found = (computed(model, x, dtype is torch.bfloat16) for model in (plain, joined))
    assert len(found) == len(wanted) == 6
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= near * other.abs().max()


def test_a_model_without_its_adapter_is_the_base_model() -> None:
    x = torch.randn(3, 24)
    joined = policy(torch.float32)
    join_adapters(joined)
    with joined.disable_adapter():
        found = joined(x)
    assert torch.equal(found, joined.unload()(x))


def test_an_adapter_with_dropout_is_left_to_peft() -> None:
    x = torch.randn(3, 24)
    plain, joined = policy(torch.float32, dropout=0.5), policy(torch.float32, dropout=0.5)
    join_adapters(joined)
    torch.manual_seed(1)
    wanted = plain.train()(x)
    torch.manual_seed(1)
    assert torch.equal(joined.train()(x), wanted)

"""Folding a batch into the tree of its prefixes changes nothing but the time it takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from training.shared_prefix import fold, share_prefixes

pytestmark = pytest.mark.heavy

ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 10], [5, 6, 11, 12, 13, 14], [5, 6, 7, 8, 9]]
"""Two rows alike, one that leaves them late, one early."""


def padded(rows: list[list[int]], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    gaps = [[2] * (longest - len(row)) for row in rows]
    ids = [gap + row if left else row + gap for row, gap in zip(rows, gaps, strict=True)]
    seen = [[0] * len(gap) + [1] * len(row) for row, gap in zip(rows, gaps, strict=True)]
    mask = seen if left else [line[::-1] for line in seen]
    return torch.tensor(ids), torch.tensor(mask)


def policy(base: Path, **config: Any) -> Any:
    """The tiny model under an adapter whose every weight matters."""
    causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    for name, value in config.items():
        setattr(causal.config, name, value)
    wrapped = get_peft_model(causal, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    torch.manual_seed(3)
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return wrapped


def computed(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The logits of the real tokens, and the adapter's gradients under a loss that weighs all of them."""
    model.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weights).sum().backward()
    return logits.detach(), [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def test_each_distinct_prefix_is_one_node() -> None:
    tree = fold(*padded(ROWS))
    assert tree.tokens.tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert tree.depths.tolist() == [0, 1, 2, 3, 4, 3, 2, 3, 4, 5]
    assert tree.rows.tolist() == [
        [0, 1, 2, 3, 4, 0], [0, 1, 2, 5, 0, 0], [0, 1, 6, 7, 8, 9], [0, 1, 2, 3, 4, 0],
    ]  # fmt: skip
    assert tree.first.tolist() == [0, 1, 2, 3, 4, 9, 14, 15, 16, 17]


def test_the_same_token_after_another_beginning_is_another_node() -> None:
    assert len(fold(*padded([[5, 7], [6, 7]])).tokens) == 4


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [[5, 6], [7, 8, 9]]])
def test_logits_and_gradients_are_those_of_the_plain_model(tiny_base: Path, rows: list[list[int]]) -> None:
    ids, mask = padded(rows)
    plain, shared = policy(tiny_base), policy(tiny_base)
    share_prefixes(shared)
    wanted, wanted_gradients = computed(plain, ids, mask)
    for _ in range(2):  # the first batch is also proven, the second is not
        found, gradients = computed(shared, ids, mask)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        for one, other in zip(gradients, wanted_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_are_the_same_when_layers_are_computed_again(tiny_base: Path) -> None:
    ids, mask = padded(ROWS)
    shared, again = policy(tiny_base), policy(tiny_base)
    for model in (shared, again):
        share_prefixes(model)
        model.train()
    again.gradient_checkpointing_enable({"use_reentrant": False})
    again.enable_input_require_grads()
    _, wanted = computed(shared, ids, mask)
    _, found = computed(again, ids, mask)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_padded_on_the_left_is_computed_plainly(tiny_base: Path) -> None:
    ids, mask = padded(ROWS, left=True)
    plain, shared = policy(tiny_base), policy(tiny_base)
    share_prefixes(shared)
    torch.testing.assert_close(computed(shared, ids, mask)[0], computed(plain, ids, mask)[0])


def test_a_model_that_folding_would_change_is_left_as_it_was(
    tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids, mask = padded(ROWS)
    plain, shared = policy(tiny_base), policy(tiny_base)
    for model in (plain, shared):
        layer = model.get_base_model().model.layers[0].mlp
        layer.register_forward_hook(lambda _, __, out: out + torch.arange(out.shape[1])[:, None] * 0.1)
    share_prefixes(shared)
    one = padded(ROWS[:1])
    torch.testing.assert_close(computed(shared, *one)[0], computed(plain, *one)[0])
    assert "trained without" not in caplog.text, "one row is no tree, and says nothing of several"
    wanted, _ = computed(plain, ids, mask)
    found, _ = computed(shared, ids, mask)
    torch.testing.assert_close(found, wanted)
    assert "trained without" in caplog.text
    torch.testing.assert_close(computed(shared, ids, mask)[0], wanted)


def test_a_model_that_looks_through_a_window_is_not_touched(tiny_base: Path) -> None:
    model = policy(tiny_base, sliding_window=4)
    share_prefixes(model)
    assert model.get_base_model().config._attn_implementation == "sdpa"

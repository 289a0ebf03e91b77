"""The operators against the plain formula of PEFT: y += (x A^T) B^T * scale, row by row."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from service.engine import server
from service.engine.plugin import install, is_right, register, self_test
from tests.service.engine.conftest import ROOT

pytestmark = pytest.mark.heavy  # quick in itself, but torch is not
WIDTHS = (24, 8, 8)
"""Output widths of a merged layer, as q, k and v."""


def _wrapper(slots: list[int]) -> Any:
    class Wrapper:
        def update_metadata(self, indices: torch.Tensor) -> None:
            self.token_lora_indices = self.sampler_indices = indices

    install(Wrapper)
    wrapper = Wrapper()
    wrapper.update_metadata(torch.tensor(slots))
    return wrapper


def _case(slots: list[int], dtype: torch.dtype) -> SimpleNamespace:
    random = torch.Generator().manual_seed(len(slots))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(dtype)

    return SimpleNamespace(
        x=draw(len(slots), 16),
        y=draw(len(slots), sum(WIDTHS)),
        a=tuple(draw(8, 1, 4, 16) for _ in WIDTHS),
        b=tuple(draw(8, 1, width, 4) for width in WIDTHS),
    )


def _plain(case: SimpleNamespace, slots: list[int], scale: float) -> torch.Tensor:
    """In double precision, one row at a time."""
    y = case.y.double()
    for row, slot in enumerate(slots):
        if slot >= 0:
            x = case.x[row].double()
            deltas = [
                b[slot, 0].double() @ (a[slot, 0].double() @ x) for a, b in zip(case.a, case.b, strict=True)
            ]
            y[row] += scale * torch.cat(deltas)
    return y


MIXES = {
    "one adapter alone": [7] * 5,
    "one adapter and the base, a decode step": [-1, 7, -1, 7, 7],
    "two adapters and the base, a prefill": [-1] * 6 + [0] * 9 + [7] * 11 + [-1] * 2,
    "two adapters, apart": [0, 0, 7, -1, 0, 7, 7, 7],
    "eight adapters and the base, a decode step": [-1, 3, 0, 1, -1, 2, 4, 7, 5, 6, -1],
    "eight adapters and the base, a prefill": [n for n in range(-1, 8) for _ in range(5)],
    "the base alone": [-1, -1, -1],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slots", MIXES.values(), ids=MIXES.keys())
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_merged_layer_gets_each_rows_own_adapter(slots: list[int], dtype: torch.dtype, scale: float):
    case = _case(slots, dtype)
    y = case.y.clone()
    _wrapper(slots).add_lora_linear(y, case.x, case.a, case.b, scale, WIDTHS)
    expected = _plain(case, slots, scale)
    base = torch.tensor(slots) < 0
    assert torch.equal(y[base], case.y[base]), "a row of the base model was touched"
    # bf16 keeps 8 bits of a number, and the inner product is rounded once more
    bound = 1e-5 if dtype is torch.float32 else 2e-2
    assert (y.double() - expected).abs().max() <= bound * expected.abs().max()


def test_a_slot_that_vllm_fills_anew_is_multiplied_by_what_is_in_it_now():
    """A layer's weights are read where vLLM keeps them."""
    from vllm.lora.layers import ReplicatedLinearWithLoRA

    slots = [-1, 7, 7, 2]
    case, wrapper = _case(slots, torch.float32), _wrapper(slots)
    layer: Any = ReplicatedLinearWithLoRA.__new__(ReplicatedLinearWithLoRA)
    torch.nn.Module.__init__(layer)
    layer.n_slices = layer.tp_size = 1
    layer.lora_a_stacked, layer.lora_b_stacked, layer.punica_wrapper = case.a[:1], case.b[:1], wrapper
    for _ in range(3):
        y = case.y[:, : WIDTHS[0]].clone()
        wrapper.add_lora_linear(y, case.x, layer.lora_a_stacked, layer.lora_b_stacked, 1.0, WIDTHS[:1])
        assert torch.allclose(y.double(), _plain(case, slots, 1.0)[:, : WIDTHS[0]], atol=1e-4)
        with torch.inference_mode():  # as vLLM's worker does
            layer.set_lora(7, torch.randn(4, 16), torch.randn(WIDTHS[0], 4))


@pytest.mark.parametrize("slots", MIXES.values(), ids=MIXES.keys())
def test_shrink_and_expand_together_are_the_same_operator(slots: list[int]):
    case, wrapper = _case(slots, torch.float32), _wrapper(slots)
    y = case.y.clone()
    buffers = tuple(torch.zeros(len(slots), 4) for _ in WIDTHS)
    wrapper.add_shrink(buffers, case.x, case.a, 0.5)
    wrapper.add_expand(y, buffers, case.b, WIDTHS)
    assert torch.allclose(y.double(), _plain(case, slots, 0.5), atol=1e-4)


def test_embedding_and_output_layer_leave_the_base_alone():
    slots = [-1, 7, 2, -1, 7]
    case, wrapper = _case(slots, torch.float32), _wrapper(slots)
    base = torch.tensor(slots) < 0
    y = case.y.clone()
    wrapper.add_lora_logits(y[:, :24], case.x, case.a[0], case.b[0], 1.0)
    assert torch.allclose(y[:, :24].double(), _plain(case, slots, 1.0)[:, :24], atol=1e-4)
    assert torch.equal(y[base], case.y[base])
    z, embedded = case.y[:, :24].clone(), torch.randn(5, 4)
    wrapper.add_lora_embedding(z, embedded, case.b[0])
    assert torch.equal(z[base], case.y[base, :24])
    assert torch.allclose(z[1], case.y[1, :24] + case.b[0][7, 0] @ embedded[1], atol=1e-5)


def test_installing_twice_changes_nothing():
    wrapper = type(_wrapper([0]))
    update = wrapper.update_metadata
    install(wrapper)
    assert wrapper.update_metadata is update


def test_vllms_own_operator_gives_base_rows_the_last_adapter_and_ours_does_not():
    """When this fails because vLLM is right by itself, the plugin is needed for its speed only."""
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    ours = type("Ours", (PunicaWrapperCPU,), {})
    install(ours)
    slots = [-1, 7, -1, 0, 7]
    mapping = LoRAMapping(tuple(slot + 1 for slot in slots), tuple(slot + 1 for slot in slots))
    case = _case(slots, torch.float32)
    answers = {}
    for wrapper in (PunicaWrapperCPU, ours):
        made = wrapper(16, 16, "cpu")
        made.update_metadata(mapping, list(range(1, 9)), 8, 100)
        answers[wrapper] = case.y.clone()
        made.add_lora_linear(answers[wrapper], case.x, case.a, case.b, 1.0, WIDTHS)
    stock_last = _plain(case, [7 if slot < 0 else slot for slot in slots], 1.0)
    assert torch.allclose(answers[PunicaWrapperCPU].double(), stock_last, atol=1e-4)
    assert torch.allclose(answers[ours].double(), _plain(case, slots, 1.0), atol=1e-4)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> type:
    """vLLM's class as it is installed, in place of which a test may put another."""
    from vllm.lora.punica_wrapper import punica_cpu

    class Stock(punica_cpu.PunicaWrapperCPU):
        pass

    monkeypatch.setattr(punica_cpu, "PunicaWrapperCPU", Stock)
    return Stock


@pytest.mark.parametrize("name", ["add_lora_linear", "add_expand", "add_lora_logits", "add_lora_embedding"])
def test_the_self_test_refuses_each_operator_that_touches_the_base(stock: type, name: str):
    assert not is_right(stock)
    install(stock)
    self_test(stock)
    right = getattr(stock, name)

    def wrong(self: Any, y: torch.Tensor, x: Any, *rest: Any) -> None:
        right(self, y, x, *rest)
        y[0] += 1e-3

    setattr(stock, name, wrong)
    with pytest.raises(RuntimeError, match="do not agree with this vLLM"):
        self_test(stock)


def test_the_self_test_refuses_a_shrink_that_does_nothing(stock: type):
    install(stock)
    stock.add_shrink = lambda *_, **__: None
    with pytest.raises(RuntimeError, match="do not agree with this vLLM"):
        self_test(stock)


def test_on_a_vllm_whose_operators_are_right_nothing_is_replaced(stock: type):
    mended = type("Mended", (stock,), {})
    install(mended)
    del mended.tailorbird
    vllms_own = {name: getattr(mended, name) for name in ("update_metadata", "add_lora_linear", "add_shrink")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU", mended)
        register()
    assert {name: getattr(mended, name) for name in vllms_own} == vllms_own
    assert not hasattr(mended, "tailorbird")


def test_registering_changes_the_processors_operators_and_no_others(
    stock: type, monkeypatch: pytest.MonkeyPatch
):
    from vllm.platforms import current_platform

    monkeypatch.setattr(type(current_platform), "is_cpu", lambda self: False)
    register()
    assert not hasattr(stock, "tailorbird")
    monkeypatch.setattr(type(current_platform), "is_cpu", lambda self: True)
    register()
    assert stock.add_lora_linear is not stock.__mro__[1].add_lora_linear
    assert stock.tailorbird


def test_an_engine_whose_self_test_fails_ends_before_it_opens_its_socket(base_model: Path, tmp_path: Path):
    """The engine as the service starts it, with an operator that touches every row of the base model."""
    (tmp_path / "sitecustomize.py").write_text(
        "import service.engine.plugin as plugin\n"
        "right = plugin._add_lora_linear\n"
        "def wrong(self, y, x, *rest, **more):\n"
        "    right(self, y, x, *rest, **more)\n"
        "    y += 0.001\n"
        "plugin._add_lora_linear = wrong\n"
    )
    socket = tmp_path / "engine.sock"
    options = server.EngineOptions(model=base_model, served_name="base", socket=socket, cpu=True)
    argv, env = server.command(options, os.environ | {"PYTHONPATH": str(tmp_path)})
    ended = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert "do not agree with this vLLM" in ended.stderr + ended.stdout
    assert not socket.exists()

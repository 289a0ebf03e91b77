"""The compiled product of many adapters, against the plain formula in double precision."""

import pytest
import torch

from service.engine import kernel
from service.engine.kernel import Kernel, Layer

pytestmark = pytest.mark.heavy  # quick in itself, but torch is not

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""{kind: the largest error}, relative to the largest number: it is rounded once, to half a unit in the last place."""
MIXES = {
    "one token": [3],
    "two of one adapter": [5, 5],
    "seven of one adapter": [2] * 7,
    "apart, among the base": [1, -1, 0, 1, 1, -1, 1, 0, 1, -1],
    "each its own": [7, 6, 5, 4, 3, 2, 1, 0],
    "the base alone": [-1, -1],
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return kernel.load(tmp_path_factory.mktemp("cache"))


def _layer(dtype: torch.dtype, width: int, outs: tuple[int, ...], rank: int) -> Layer:
    random = torch.Generator().manual_seed(rank)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=random) / shape[-1] ** 0.5).to(dtype)

    return Layer(
        tuple(draw(8, 1, rank, width) for _ in outs), tuple(draw(8, 1, out, rank) for out in outs), outs
    )


def _plain(layer: Layer, y: torch.Tensor, x: torch.Tensor, slots: list[int], scale: float) -> torch.Tensor:
    """One row at a time, in double precision."""
    y = y.double()
    for row, slot in enumerate(slots):
        if slot >= 0:
            inner = x[row].double()
            deltas = [
                b[slot, 0].double() @ (a[slot, 0].double() @ inner)
                for a, b in zip(layer.a, layer.b, strict=True)
            ]
            y[row] += scale * torch.cat(deltas)
    return y


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("rank", [1, 8, 16, 18, 64])
@pytest.mark.parametrize("slots", MIXES.values(), ids=MIXES.keys())
def test_each_token_gets_its_own_adapter_and_the_base_is_not_touched(
    compiled: Kernel, dtype: torch.dtype, rank: int, slots: list[int]
):
    layer = _layer(dtype, 70, (40, 23, 16), rank)
    x, y = torch.randn(len(slots), 70).to(dtype), torch.randn(len(slots), 79).to(dtype)
    after, base = y.clone(), torch.tensor(slots) < 0
    compiled.add(layer, after, x, torch.tensor(slots), 0.5)
    expected = _plain(layer, y, x, slots, 0.5)
    assert torch.equal(after[base], y[base])
    assert (after.double() - expected).abs().max() <= BOUNDS[dtype] * expected.abs().max()


def test_several_threads_give_what_one_gives(compiled: Kernel):
    """Large enough that the work is shared; each number is still summed by one thread, so none may differ."""
    layer, slots = _layer(torch.bfloat16, 2048, (2048, 512), 16), torch.tensor([1, -1, 0] * 32)
    x, y = torch.randn(96, 2048).bfloat16(), torch.randn(96, 2560).bfloat16()
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(y.clone())
            compiled.add(layer, found[-1], x, slots, 1.0)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], y)


def test_rows_may_lie_apart_and_slices_be_narrower_or_wider_than_their_weights(compiled: Kernel):
    """As where vLLM pads: a slice of the output takes the weights' first rows, or is filled by fewer."""
    random = torch.Generator().manual_seed(1)
    a = tuple(torch.randn(2, 1, 4, 24, generator=random) for _ in range(2))
    b = tuple(torch.randn(2, 1, out, 4, generator=random) for out in (40, 16))
    wide_x, wide_y = torch.randn(5, 30, generator=random), torch.randn(5, 90, generator=random)
    x, y = wide_x[:, :24], wide_y[:, :56]
    expected, before = y.clone(), wide_y.clone()
    expected[:, :32] += (x @ a[0][1, 0].T) @ b[0][1, 0, :32].T
    expected[:, 32:48] += (x @ a[1][1, 0].T) @ b[1][1, 0].T
    compiled.add(Layer(a, b, (32, 24)), y, x, torch.tensor([1] * 5), 1.0)
    assert torch.allclose(y, expected, atol=1e-5)
    assert torch.equal(wide_y[:, 56:], before[:, 56:])


def test_no_number_and_infinity_stay_what_they_are(compiled: Kernel):
    layer = _layer(torch.bfloat16, 32, (32,), 16)
    x, y = torch.ones(2, 32).bfloat16(), torch.zeros(2, 32).bfloat16()
    y[0, 3], y[1, 5], y[1, 6] = float("nan"), float("inf"), float("-inf")
    compiled.add(layer, y, x, torch.tensor([0, 0]), 1.0)
    assert y[0, 3].isnan()
    assert y[1, 5:7].tolist() == [float("inf"), float("-inf")]
    assert int(y.isfinite().sum()) == 61


def test_what_lies_otherwise_is_refused_and_never_read(compiled: Kernel):
    layer = _layer(torch.float32, 32, (32,), 16)
    x, y, slots = torch.ones(2, 32), torch.zeros(2, 32), torch.tensor([0, 0])
    for wrong in (
        (y, x.bfloat16()),
        (y.bfloat16(), x),
        (y.T, x),
        (y, torch.ones(32, 2).T),
        (y, x[:, :31].contiguous()),
        (y[:, :31].contiguous(), x),
        (y[:1], x),
        (y[None], x[None]),
    ):
        with pytest.raises(RuntimeError, match="values lie otherwise"):
            compiled.add(layer, *wrong, slots, 1.0)
    for a, b in (
        ((layer.a[0].double(),), (layer.b[0].double(),)),
        (layer.a, (layer.b[0].bfloat16(),)),
        (layer.a, (layer.b[0][..., :8],)),
        (layer.a, (layer.b[0][:7],)),
        ((torch.zeros(1, 1, 600, 8),), (torch.zeros(1, 1, 8, 600),)),
    ):
        with pytest.raises(RuntimeError, match="weights lie otherwise"):
            Layer(a, b, (32,))
    with pytest.raises(ValueError, match="zip"):
        Layer(layer.a, layer.b, ())

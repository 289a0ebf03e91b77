"""The compiled operations of a step, against torch in double precision; and doing without them."""

import ctypes
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from service.contract import native
from training import kernel
from training.shared_prefix import fold

pytestmark = pytest.mark.heavy

NEAR = 0.006
"""As a share of the norm: one rounding to bf16 is up to 0.004 of a number, and gradients are rounded twice."""
LENGTHS = [1, 2, 15, 16, 17, 37, 64, 90]


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if not kernel._libraries():
        pytest.fail("nothing was compiled: install g++")


@pytest.fixture
def tiles() -> None:
    if "linear" not in kernel._libraries():
        pytest.skip("this processor has no matrix unit")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def exact(operation: Callable[..., Tensor], gradient: Tensor, *inputs: Tensor) -> list[Tensor]:
    """In double precision: the output, and the gradient of each input."""
    wide = [one.double().requires_grad_() for one in inputs]
    out = operation(*wide)
    return [out.detach(), *torch.autograd.grad(out, wide, gradient.double())]


def near(found: list[Any], wanted: list[Tensor]) -> bool:
    assert len(found) == len(wanted)
    return all(
        one.shape == other.shape and (one.double() - other).norm() <= NEAR * other.norm()
        for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("rank", [8, 16, 32, 40])
@pytest.mark.parametrize(
    ("rows", "inner", "outer"), [(32, 64, 96), (33, 96, 32), (155, 576, 192), (300, 192, 576)]
)
def test_an_adapted_layer_is_the_plain_formula(rows: int, inner: int, outer: int, rank: int) -> None:
    x, gradient, weight, bias = draw(rows, inner), draw(rows, outer, seed=1), draw(outer, inner), draw(outer)
    a, b = draw(rank, inner, seed=2).float() / 8, draw(outer, rank, seed=3).float() / 2
    y, small = kernel.linear(x, weight, bias, a, b, 0.5)
    found = [y, *kernel.linear_backward(gradient, x, weight, a, b, 0.5, small, asked=True)]
    w, c = weight.double(), bias.double()
    wanted = exact(lambda x, a, b: x @ w.T + c + 0.5 * (x @ a.T) @ b.T, gradient, x, a, b)
    assert near(found, wanted)
    of_x, *learned = kernel.linear_backward(gradient, x, weight, a, b, 0.5, small, asked=False)
    assert of_x is None
    assert all(torch.equal(one, other) for one, other in zip(learned, found[2:], strict=True))


@pytest.mark.parametrize("rows", [1, 21, 200])
def test_norms_and_gates_are_the_plain_formulas(rows: int) -> None:
    x, up, gradient, weight = draw(rows, 96), draw(rows, 96, seed=1), draw(rows, 96, seed=2), draw(96, seed=3)
    y, by = kernel.norm(x, weight, 1e-5)
    wanted = exact(lambda x: torch.nn.functional.rms_norm(x, [96], weight.double(), 1e-5), gradient, x)
    assert near([y, kernel.norm_backward(gradient, x, weight, by)], wanted)
    wanted = exact(lambda x, up: torch.nn.functional.silu(x) * up, gradient, x, up)
    assert near([kernel.gated(x, up), *kernel.gated_backward(gradient, x, up)], wanted)


@pytest.mark.parametrize("length", LENGTHS)
def test_probabilities_see_no_later_token_and_are_the_plain_formula(length: int) -> None:
    scores, gradient = 4 * draw(3, 2 * length, length), draw(3, 2 * length, length, seed=1)
    hidden = torch.full((length, length), -torch.inf).triu(1).repeat(2, 1)
    wanted = exact(lambda x: torch.softmax(x * 0.25 + hidden, -1), gradient, scores)
    likely = kernel.causal_softmax(scores.clone(), 0.25)
    assert likely[:, hidden.isinf()].count_nonzero() == 0
    slope = kernel.causal_softmax_backward(gradient.clone(), likely, 0.25)
    assert slope[:, hidden.isinf()].count_nonzero() == 0
    assert near([likely], wanted[:1])
    if length > 1:  # of one token there is nothing to choose, and the gradient is 0
        assert near([slope], wanted[1:])


@pytest.mark.parametrize("words", [5, 16, 77, 1000])
def test_the_words_powers_are_the_plain_formula(words: int) -> None:
    scores, targets = 5 * draw(9, words), torch.arange(9) % words
    wide = scores.double() - scores.double().amax(-1, keepdim=True)
    told, whole = kernel.word_powers(scores, targets)
    assert near([told, whole, scores], [wide[range(9), targets], wide.exp().sum(-1), wide.exp()])


def test_rows_and_their_tree_are_the_plain_indexing() -> None:
    ids = torch.randint(0, 3, (5, 40), generator=torch.Generator().manual_seed(1))
    tree = fold(ids, torch.arange(40)[None] < torch.tensor([40, 17, 3, 40, 1])[:, None])
    count = len(tree.tokens)
    nodes, by_row = draw(count, 3, 32), draw(5, 3, 40, 32, seed=1)
    spread = exact(lambda n: n[tree.rows].transpose(1, 2), by_row, nodes)
    assert torch.equal(kernel.spread(nodes, tree.rows).double(), spread[0])
    assert near([kernel.gather(by_row, tree.rows, count)], spread[1:])
    picked = exact(lambda r: r.transpose(1, 2).flatten(0, 1)[tree.first], nodes, by_row)
    assert torch.equal(kernel.pick(by_row, tree.first).double(), picked[0])
    assert torch.equal(kernel.put_back(nodes, tree.first, 5, 40).double(), picked[1])
    shuffled = nodes.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(kernel.spread(shuffled, tree.rows), kernel.spread(nodes, tree.rows)), (
        "however they lie"
    )


def test_large_and_small_values_stay_finite_and_no_number_is_seen() -> None:
    extreme = torch.tensor([-1e30, -200, -88, 0, 88, 200, 1e30, 1e-30] * 4).bfloat16()
    y = kernel.gated(extreme, torch.ones(32).bfloat16())
    assert torch.allclose(y.float(), torch.nn.functional.silu(extreme.float()), rtol=0.01)
    likely = kernel.causal_softmax(extreme.expand(1, 32, 32).contiguous(), 1.0)
    assert likely.isfinite().all()
    assert torch.allclose(likely.float().sum(-1), torch.ones(32), atol=0.02)
    broken = draw(2, 32)
    broken[1, 3] = torch.nan
    assert kernel.norm(broken, torch.ones(32).bfloat16(), 1e-5)[0][1].isnan().all()
    assert kernel.gated(broken, broken)[1, 3].isnan()
    row = draw(1, 32, 32)
    row[0, 31, 3] = torch.nan
    assert kernel.causal_softmax(row, 1.0)[0, 31].isnan().all()


def test_no_number_in_an_adapted_layer_reaches_what_it_is_multiplied_into(tiles: None) -> None:
    x, weight, a, b = draw(40, 64), draw(32, 64), draw(8, 64).float(), draw(32, 8).float()
    x[35, 3] = torch.nan
    y, _ = kernel.linear(x, weight, None, a, b, 1.0)
    assert y[35].isnan().all()
    assert y[:35].isfinite().all()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_result_is_the_same_to_the_bit_however_many_threads_there_are() -> None:
    x, up, gradient, weight = (draw(1400, 96, seed=seed) for seed in range(4))
    a, b, frozen = draw(16, 96).float(), draw(96, 16).float(), draw(96, 96)

    def computed() -> list[Tensor]:
        y, by = kernel.norm(x, weight[0], 1e-5)
        likely, powers = kernel.causal_softmax(draw(8, 360, 180), 1.0), draw(140, 1000)
        found = [y, by, kernel.norm_backward(gradient, x, weight[0], by), kernel.gated(x, up), likely]
        found += [
            *kernel.gated_backward(gradient, x, up),
            *kernel.word_powers(powers, torch.arange(140)),
            powers,
        ]
        found += [kernel.causal_softmax_backward(draw(8, 360, 180, seed=1), likely, 1.0)]
        found += [kernel.gather(draw(8, 8, 40, 64), torch.arange(320).view(8, 40) % 40, 40)]
        if kernel.takes_linear(x, frozen):
            y, small = kernel.linear(x, frozen, None, a, b, 1.0)
            of_x, *learned = kernel.linear_backward(gradient, x, frozen, a, b, 1.0, small, asked=True)
            assert of_x is not None
            found += [y, of_x, *learned]
        return found

    torch.set_num_threads(1)
    alone = computed()
    for count in (2, 3, 7):
        torch.set_num_threads(count)
        assert all(torch.equal(one, other) for one, other in zip(alone, computed(), strict=True))


def test_an_adapter_in_bf16_is_read_as_what_it_is(tiles: None) -> None:
    x, weight, a, b = draw(64, 96), draw(64, 96), draw(16, 96), draw(64, 16)
    found, _ = kernel.linear(x, weight, None, a, b, 1.0)
    assert torch.equal(found, kernel.linear(x, weight, None, a.float(), b.float(), 1.0)[0])


@pytest.mark.parametrize("target", [-100, 77])
def test_a_target_that_is_no_word_is_refused_and_not_read(target: int) -> None:
    with pytest.raises(IndexError, match="outside the 77 words"):
        kernel.word_powers(draw(2, 77), torch.tensor([3, target]))


def test_what_cannot_be_given_is_left_to_torch() -> None:
    x, weight = draw(64, 96), draw(64, 96)
    assert kernel.takes(x, 96)
    for other in (x.float(), x.half(), x.to("meta")):
        assert not kernel.takes(other, 96)
        assert not kernel.takes_linear(other, weight)
    assert not kernel.takes(x, 24)
    for odd in (weight.float(), draw(40, 96), draw(96, 64).T):
        assert not kernel.takes_linear(x, odd)
    assert not kernel.takes_linear(x[:31], weight)
    assert not kernel.takes_linear(x, weight, draw(64).float())


@pytest.fixture
def anew() -> Iterator[None]:
    """The libraries are looked for again, and once more when the test is over."""
    for cached in (kernel._libraries, kernel._loaded):
        cached.cache_clear()
    yield
    for cached in (kernel._libraries, kernel._loaded):
        cached.cache_clear()


@pytest.mark.usefixtures("anew")
def test_without_a_compiler_nothing_is_taken_and_the_log_says_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    assert native.cache() == tmp_path / "tailorbird"
    with caplog.at_level(logging.WARNING):
        assert not kernel.takes(draw(64, 96), 96)
    assert "No C++ compiler here" in caplog.text
    assert "apt-get install build-essential" in caplog.text


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("name", [*kernel.ROWS, *kernel.LAYERS])
def test_an_operation_that_says_something_else_is_found_and_none_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """As where a compiler or a machine is at fault."""
    loaded = kernel._loaded()
    if name not in loaded:
        pytest.skip("this processor has no matrix unit")

    def wrong(*values: Any) -> None:
        loaded[name](*values)
        ctypes.memset(values[-1], 0x7F, 16)  # every function's last address is of something that it writes

    monkeypatch.setattr(kernel, "_loaded", lambda: loaded | {name: wrong})
    with caplog.at_level(logging.WARNING):
        assert not kernel.takes(draw(64, 96), 96)
    assert "something else than torch" in caplog.text

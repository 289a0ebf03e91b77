"""Calls `linear.cpp` and `fused.cpp`, compiled for the processor it runs on: what a step computes, in bf16.

`linear.cpp` multiplies an adapted linear layer, where there is a matrix unit; `fused.cpp` does what lies between such
layers. Owns the two libraries, what they can be given, and the look whether they are right here; where they are not, or
there is no compiler, who asks computes with torch's own operations. Values are on a processor, and in bf16 where it is
not said otherwise. Knows no layer and no gradient tape.
"""

import ctypes
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from service.contract import native

HERE = Path(__file__).parent
MULTIPLE, WIDE = 16, 32
"""What widths are multiples of, for `fused.cpp`; of an adapted layer, for `linear.cpp`."""
FEW = 32
"""Rows of a block in `linear.cpp`: fewer are left to torch."""
NEAR = 0.02
"""How far the self-test's answers may be from torch's, as a share of their norm: bf16 rounds by 0.003."""
TYPES = {"n": ctypes.c_int64, "f": ctypes.c_float, "p": ctypes.c_void_p}
"""A number, a fraction, an address."""
ROWS = {
    "norm": "nnppfpp", "norm_backward": "nnppppp", "gated": "nppp", "gated_backward": "nppppp",
    "causal_softmax": "nnfp", "causal_softmax_backward": "nnfpp", "word_powers": "nnpppp",
}  # fmt: skip
LAYERS = {"linear": "nnnnpppppfpp", "linear_backward": "nnnnpppppfpppp"}
"""What the functions of the two libraries are given."""

Function = Callable[..., None]
log = logging.getLogger(__name__)


def takes(x: Tensor, *widths: int) -> bool:
    """Whether `x` and values of these widths can be given to the operations that follow."""
    return _is_ours(x) and not any(width % MULTIPLE for width in widths) and "norm" in _libraries()


def takes_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether `x` [rows, inner] can be multiplied with a frozen `weight` [outer, inner] and an adapter here: this takes
    a matrix unit, and rows enough that laying the weights out for it pays."""
    fits = len(x) >= FEW and not any(width % WIDE for width in weight.shape) and weight.is_contiguous()
    ours = all(_is_ours(one) for one in (x, weight, bias) if one is not None)
    return fits and ours and "linear" in _libraries()


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`x / rms(x) * weight` of `x` [.., width], and 1 / rms of each row, in fp32."""
    x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
    by = torch.empty(x.shape[:-1], dtype=torch.float32)
    _call("norm", by.numel(), x.shape[-1], x, weight, eps, y, by)
    return y, by


def norm_backward(gradient: Tensor, x: Tensor, weight: Tensor, by: Tensor) -> Tensor:
    x, of_x = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
    _call("norm_backward", by.numel(), x.shape[-1], _like(gradient, x), x, weight, by, of_x)
    return of_x


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up`, of one shape."""
    y = torch.empty(gate.shape, dtype=gate.dtype)
    _call("gated", gate.numel(), gate.contiguous(), _like(up, gate), y)
    return y


def gated_backward(gradient: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    of_gate, of_up = (torch.empty(gate.shape, dtype=gate.dtype) for _ in range(2))
    _call(
        "gated_backward",
        gate.numel(),
        _like(gradient, gate),
        gate.contiguous(),
        _like(up, gate),
        of_gate,
        of_up,
    )
    return of_gate, of_up


def causal_softmax(scores: Tensor, scaling: float) -> Tensor:
    """`scores` [blocks, rows, length] become probabilities, in place; row i sees the columns to i modulo length."""
    length = scores.shape[-1]
    _call("causal_softmax", scores.numel() // length**2, length, scaling, scores)
    return scores


def causal_softmax_backward(gradient: Tensor, likely: Tensor, scaling: float) -> Tensor:
    """The gradient of probabilities `likely` becomes that of scores, in place."""
    length = likely.shape[-1]
    _call("causal_softmax_backward", likely.numel() // length**2, length, scaling, likely, gradient)
    return gradient


def word_powers(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`scores` [tokens, words] become e to the power of each less its row's highest, in place. Returns, in fp32, each
    target's score less the highest, and the sum of the powers."""
    told, whole = (torch.empty(len(scores), dtype=torch.float32) for _ in range(2))
    _call("word_powers", *scores.shape, targets.contiguous(), scores, told, whole)
    return told, whole


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """`x @ weight.T + bias + scaling * (x @ down.T) @ up.T` for `x` [rows, inner], `weight` [outer, inner], and in fp32
    `down` [rank, inner] and `up` [outer, rank]; and what the backward pass needs."""
    down, up = _whole_rank(down, up)
    small = torch.empty(_whole(len(x)), _whole(len(down)), dtype=x.dtype)
    y = torch.empty(len(x), len(weight), dtype=x.dtype)
    _call("linear", *_sizes(x, weight, down), x, weight, bias, down, up, scaling, small, y)
    return y, small


def linear_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float, small: Tensor,
    *, asked: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:  # fmt: skip
    """The gradients of `x`, where it is asked for, and, in fp32, of `down` and `up`."""
    rank, (down, up) = len(down), _whole_rank(down, up)
    of_x = torch.empty(x.shape, dtype=x.dtype) if asked else None
    of_down, of_up = torch.empty_like(down), torch.empty_like(up)
    sizes, learned = _sizes(x, weight, down), (of_down, of_up)
    _call("linear_backward", *sizes, _like(gradient, x), x, weight, down, up, scaling, small, of_x, *learned)
    return of_x, of_down[:rank], of_up[:, :rank]


def _is_ours(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype is torch.bfloat16


def _like(x: Tensor, other: Tensor) -> Tensor:
    return x.to(other.dtype).contiguous()


def _whole_rank(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of a rank that is a multiple: more of it in zeros change nothing."""
    if missing := -len(down) % MULTIPLE:
        down, up = (
            torch.nn.functional.pad(down, (0, 0, 0, missing)),
            torch.nn.functional.pad(up, (0, missing)),
        )
    return down.contiguous(), up.contiguous()


def _whole(number: int) -> int:
    return -(-number // WIDE) * WIDE


def _sizes(x: Tensor, weight: Tensor, down: Tensor) -> tuple[int, int, int, int]:
    return len(x), x.shape[1], len(weight), len(down)


def _call(name: str, *values: Tensor | float | None) -> None:
    _loaded()[name](*(value.data_ptr() if isinstance(value, Tensor) else value for value in values))


@functools.cache
def _libraries() -> dict[str, Function]:
    """The functions that can be called here, by name, after a look at what they say; none where one is wrong."""
    if (found := _loaded()) and (wrong := _wrong(found)):
        log.warning("Compiled operations say something else than torch's here: %s. They are not used.", wrong)
        return {}
    return found


@functools.cache
def _loaded() -> dict[str, Function]:
    found: dict[str, Function] = {}
    try:
        fused = native.library(HERE / "fused.cpp", native.cache(), "the trainer's operations")
        found |= _functions(fused, ROWS)
        tiled = native.library(HERE / "linear.cpp", native.cache(), "the trainer's linear layers")
        if tiled.tailorbird_tiles():
            found |= _functions(tiled, LAYERS)
    except RuntimeError as error:
        log.warning("%s Until then torch's own operations are used, and a step takes longer.", error)
    return found


def _functions(library: ctypes.CDLL, given: dict[str, str]) -> dict[str, Function]:
    found = {name: getattr(library, f"tailorbird_{name}") for name in given}
    for name, function in found.items():
        function.argtypes, function.restype = [TYPES[one] for one in given[name]], None
    return found


@torch.enable_grad()
def _wrong(found: dict[str, Function]) -> str:
    """Which of the functions say something else than torch in fp32, forward or backward; empty where none does."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).bfloat16()

    x, up, gradient, weight = draw(21, 64), draw(21, 64), draw(21, 64), draw(64)
    square, slope = draw(6, 21, 21), draw(6, 21, 21)
    scores, targets = draw(5, 77), torch.arange(5)
    y, by = norm(x, weight, 1e-5)
    likely = causal_softmax(square.clone(), 0.5)
    powers = scores.clone()
    ours = {
        "norm": [y, norm_backward(gradient, x, weight, by)],
        "gated": [gated(x, up), *gated_backward(gradient, x, up)],
        "softmax": [likely, causal_softmax_backward(slope.clone(), likely, 0.5)],
        "words": [*word_powers(powers, targets), powers],
    }
    hidden = torch.full((21, 21), -torch.inf).triu(1)
    told = scores.float() - scores.float().amax(-1, keepdim=True)
    theirs = {
        "norm": _torch(lambda x: torch.nn.functional.rms_norm(x, [64], weight.float(), 1e-5), gradient, x),
        "gated": _torch(lambda x, up: torch.nn.functional.silu(x) * up, gradient, x, up),
        "softmax": _torch(lambda x: torch.softmax(x * 0.5 + hidden, -1), slope, square),
        "words": [told[range(5), targets], told.exp().sum(-1), told.exp()],
    }
    if "linear" in found:
        x, slope, frozen, a, b = (
            draw(45, 64),
            draw(45, 96),
            draw(96, 64),
            draw(8, 64).float(),
            draw(96, 8).float(),
        )
        y, small = linear(x, frozen, frozen[:, 0].contiguous(), a, b, 2.0)
        of_x, *learned = linear_backward(slope, x, frozen, a, b, 2.0, small, asked=True)
        assert of_x is not None
        ours["linear"] = [y, of_x, *learned]
        wide = frozen.float()
        theirs["linear"] = _torch(
            lambda x, a, b: x @ wide.T + wide[:, 0] + 2.0 * (x @ a.T) @ b.T, slope, x, a, b
        )
    far = {
        name: [
            float((one.float() - other).norm() / other.norm())
            for one, other in zip(ours[name], theirs[name], strict=True)
        ]
        for name in ours
    }
    return ", ".join(name for name, each in far.items() if not all(distance < NEAR for distance in each))


def _torch(operation: Callable[..., Tensor], gradient: Tensor, *inputs: Tensor) -> list[Tensor]:
    """What torch says in fp32: the output, and each input's gradient."""
    wide = [one.detach().float().requires_grad_() for one in inputs]
    out = operation(*wide)
    return [out.detach(), *torch.autograd.grad(out, wide, gradient.float())]

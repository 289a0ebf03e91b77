"""Calls `linear.cpp` and `fused.cpp`, compiled for the processor it runs on: what a step computes, in bf16.

`linear.cpp` multiplies an adapted linear layer, where there is a matrix unit; `fused.cpp` does what lies between such
layers. Owns the two libraries and what they can be given. Where they are not right (`self_test.py`), or there is no
compiler, who asks computes with torch's own operations. Values are on a processor, and in bf16 where it is
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
TYPES = {"n": ctypes.c_int64, "f": ctypes.c_float, "p": ctypes.c_void_p}
"""A number, a fraction, an address."""
ROWS = {
    "norm": "nnppfpp", "norm_backward": "nnppppp", "gated": "nppp", "gated_backward": "nppppp",
    "causal_softmax": "nnfp", "causal_softmax_backward": "nnfpp", "word_powers": "nnpppp",
    "spread": "nnnnppp", "gather": "nnnnnppp", "pick": "nnnnpnpp",
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
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < scores.shape[1]:
        raise IndexError(f"A target lies outside the {scores.shape[1]} words.")
    told, whole = (torch.empty(len(scores), dtype=torch.float32) for _ in range(2))
    _call("word_powers", *scores.shape, targets.contiguous(), scores, told, whole)
    return told, whole


def spread(nodes: Tensor, rows: Tensor) -> Tensor:
    """`[batch, heads, length, width]` of `nodes` [count, heads, width]; `rows` [batch, length] says which is where."""
    nodes = nodes.contiguous()
    (batch, length), (_, heads, width) = rows.shape, nodes.shape
    by_row = torch.empty(batch, heads, length, width, dtype=nodes.dtype)
    _call("spread", batch, heads, length, width, rows, nodes, by_row)
    return by_row


def gather(by_row: Tensor, rows: Tensor, count: int) -> Tensor:
    """Of each of `count` nodes the sum over its positions: the gradient of `spread`."""
    by_row, (batch, heads, length, width) = by_row.contiguous(), by_row.shape
    nodes = torch.empty(count, heads, width, dtype=by_row.dtype)
    _call("gather", batch, heads, length, width, count, rows, by_row, nodes)
    return nodes


def pick(by_row: Tensor, first: Tensor) -> Tensor:
    """`[count, heads, width]` of `by_row` [batch, heads, length, width]; `first` [count] is a position of each node."""
    by_row, (_, heads, length, width) = by_row.contiguous(), by_row.shape
    nodes = torch.empty(len(first), heads, width, dtype=by_row.dtype)
    _call("pick", len(first), heads, length, width, first, 0, by_row, nodes)
    return nodes


def put_back(nodes: Tensor, first: Tensor, batch: int, length: int) -> Tensor:
    """The gradient of `pick`: zeros where no node is."""
    count, heads, width = nodes.shape
    by_row = torch.zeros(batch, heads, length, width, dtype=nodes.dtype)
    _call("pick", count, heads, length, width, first, 1, by_row, nodes.contiguous())
    return by_row


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
    """Factors in fp32 of a rank that is a multiple: more of it in zeros change nothing."""
    if missing := -len(down) % MULTIPLE:
        down, up = (
            torch.nn.functional.pad(down, (0, 0, 0, missing)),
            torch.nn.functional.pad(up, (0, missing)),
        )
    return down.float().contiguous(), up.float().contiguous()


def _whole(number: int) -> int:
    return -(-number // WIDE) * WIDE


def _sizes(x: Tensor, weight: Tensor, down: Tensor) -> tuple[int, int, int, int]:
    return len(x), x.shape[1], len(weight), len(down)


def _call(name: str, *values: Tensor | float | None) -> None:
    _loaded()[name](*(value.data_ptr() if isinstance(value, Tensor) else value for value in values))


@functools.cache
def _libraries() -> dict[str, Function]:
    """The functions that can be called here, by name, after a look at what they say; none where one is wrong."""
    from training import self_test

    if (found := _loaded()) and (wrong := self_test.wrong(tiled="linear" in found)):
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
        elif torch.cpu.get_capabilities().get("amx_bf16"):
            log.warning(
                "This processor's matrix unit is not used, and a step takes longer: the compiler did not know it, or "
                "this process may not. Install GCC 12 or newer, and remove %s.", native.cache(),
            )  # fmt: skip
    except RuntimeError as error:
        log.warning("%s Until then torch's own operations are used, and a step takes longer.", error)
    return found


def _functions(library: ctypes.CDLL, given: dict[str, str]) -> dict[str, Function]:
    found = {name: getattr(library, f"tailorbird_{name}") for name in given}
    for name, function in found.items():
        function.argtypes, function.restype = [TYPES[one] for one in given[name]], None
    return found

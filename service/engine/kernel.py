"""Calls `lora.cpp`, compiled for the processor it runs on: what adapters add to a linear layer.

Owns how a layer's weights are laid out for it. Knows nothing of vLLM, nor whose adapter is in which slot.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

from service.contract import native

SOURCE = Path(__file__).with_name("lora.cpp")
KINDS = ("torch.float32", "torch.bfloat16", "torch.float16")
"""The numbers it knows, in the order of `lora.cpp`."""
MOST_RANK = 512
"""vLLM's largest; `lora.cpp` has room for it."""


class _Layer(ctypes.Structure):
    """`Layer` of `lora.cpp`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("kind", "slices", "in", "rank")),
        *((name, ctypes.c_void_p) for name in ("a", "b", "outs", "widths")),
    ]


class Layer:
    """The stacked weights of one linear layer, as the library reads them. Holds them, so that they stay where they are.

    `a`: tensors [slots, 1, rank, in] of each slice, `b`: [slots, 1, out, rank]; `widths`: columns of the output that
    belong to each slice. All contiguous and of one kind; raises `RuntimeError` when they are not.
    """

    def __init__(self, a: tuple[Any, ...], b: tuple[Any, ...], widths: tuple[int, ...]) -> None:
        self.a, self.b = a, b
        self.dtype, (slots, _, rank, width) = a[0].dtype, a[0].shape
        self.width, self.outs = width, sum(widths)
        fits = all(
            down.is_contiguous() and up.is_contiguous() and down.dtype == up.dtype == self.dtype
            and tuple(down.shape) == (slots, 1, rank, width) and (*up.shape[:2], up.shape[3]) == (slots, 1, rank)
            for down, up, _ in zip(a, b, widths, strict=True)
        )  # fmt: skip
        kind = str(self.dtype)
        if not fits or kind not in KINDS or rank > MOST_RANK:
            raise RuntimeError(f"An adapter's weights lie otherwise than expected: {kind}, {a[0].shape}.")
        pointers, numbers = ctypes.c_void_p * len(a), ctypes.c_int64 * len(a)
        self._arrays = (
            pointers(*(each.data_ptr() for each in a)), pointers(*(each.data_ptr() for each in b)),
            numbers(*(each.shape[2] for each in b)), numbers(*widths),
        )  # fmt: skip
        addresses = (ctypes.addressof(array) for array in self._arrays)
        self.laid_out = _Layer(KINDS.index(kind), len(a), width, rank, *addresses)


class Kernel:
    """The library, ready to be called."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._add = library.tailorbird_add
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._add.argtypes = [address, address, number, address, number, address, number, ctypes.c_float]

    def add(self, layer: Layer, y: Any, x: Any, slots: Any, scale: float) -> None:
        """y[t] += scale * (x[t] @ A[slot].T) @ B[slot].T for each token t whose slot is not below 0, in place.

        `y` [tokens, sum of widths] and `x` [tokens, in] are of the layer's kind, each row contiguous; `slots` int64
        [tokens or fewer]. Raises `RuntimeError` when they are not.
        """
        sized = x.dim() == y.dim() == 2 and x.shape[1] == layer.width and y.shape[1] >= layer.outs
        if not (
            sized
            and x.dtype == y.dtype == layer.dtype
            and len(x) == len(y)
            and x.stride(1) == y.stride(1) == 1
        ):
            raise RuntimeError(
                f"A layer's values lie otherwise than expected: {x.dtype} {tuple(x.shape)}, {y.dtype} "
                f"{tuple(y.shape)}, an adapter in {layer.dtype} from {layer.width} to {layer.outs}."
            )
        failed = self._add(
            ctypes.byref(layer.laid_out), y.data_ptr(), y.stride(0), x.data_ptr(), x.stride(0), slots.data_ptr(),
            min(len(slots), len(x)), scale,
        )  # fmt: skip
        if failed:
            raise RuntimeError(
                f"The C++ compiler of this machine knows no {layer.dtype}. Install GCC 12 or newer, and remove the "
                "library that the old one made from vLLM's cache folder."
            )


@functools.cache
def load(folder: Path) -> Kernel:
    """The library from `folder`, compiled first if it is not there. Raises `RuntimeError` with the next step."""
    return Kernel(native.library(SOURCE, folder, "the engine's operators for adapters"))

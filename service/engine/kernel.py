"""Compiles `lora.cpp` for the processor it runs on, and calls it: what adapters add to a linear layer.

Owns the compiled library, kept under the digest of all that it depends on, and how a layer's weights are laid out for
it. Knows nothing of vLLM, nor whose adapter is in which slot.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("lora.cpp")
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-fopenmp", "-shared", "-fPIC")
"""GNU's C++, not ISO's: it lets a multiplication and an addition become one instruction."""
KINDS = ("torch.float32", "torch.bfloat16", "torch.float16")
"""The numbers it knows, in the order of `lora.cpp`."""
MOST_RANK = 512
"""vLLM's largest; `lora.cpp` has room for it."""
MINUTES = 5
"""The compiler may take, on a machine that is busy."""


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
        self.kind, (_, _, rank, width) = str(a[0].dtype), a[0].shape
        fits = all(
            down.is_contiguous() and up.is_contiguous() and down.dtype == up.dtype == a[0].dtype
            and tuple(down.shape[1:]) == (1, rank, width) and up.shape[3] == rank
            for down, up in zip(a, b, strict=True)
        )  # fmt: skip
        if not fits or self.kind not in KINDS or rank > MOST_RANK:
            raise RuntimeError(
                f"An adapter's weights lie otherwise than expected: {self.kind}, {a[0].shape}."
            )
        pointers, numbers = ctypes.c_void_p * len(a), ctypes.c_int64 * len(a)
        self._arrays = (
            pointers(*(each.data_ptr() for each in a)), pointers(*(each.data_ptr() for each in b)),
            numbers(*(each.shape[2] for each in b)), numbers(*widths),
        )  # fmt: skip
        addresses = (ctypes.addressof(array) for array in self._arrays)
        self.laid_out = _Layer(KINDS.index(self.kind), len(a), width, rank, *addresses)


class Kernel:
    """The library, ready to be called."""

    def __init__(self, library: Path) -> None:
        """Raises `OSError` if it cannot be loaded."""
        self._add = ctypes.CDLL(str(library)).tailorbird_add
        number, address = ctypes.c_int64, ctypes.c_void_p
        self._add.argtypes = [address, address, number, address, number, address, number, ctypes.c_float]

    def add(self, layer: Layer, y: Any, x: Any, slots: Any, scale: float) -> None:
        """y[t] += scale * (x[t] @ A[slot].T) @ B[slot].T for each token t whose slot is not below 0, in place.

        `y` [tokens, sum of widths] and `x` [tokens, in] are of the layer's kind, each row contiguous; `slots` int64
        [tokens or fewer]. Raises `RuntimeError` when they are not.
        """
        if y.stride(-1) != 1 or x.stride(-1) != 1 or str(x.dtype) != layer.kind or y.dtype != x.dtype:
            raise RuntimeError(
                f"A layer's values lie otherwise than expected: {x.dtype}, {y.dtype}, adapters in {layer.kind}."
            )
        failed = self._add(
            ctypes.byref(layer.laid_out), y.data_ptr(), y.stride(0), x.data_ptr(), x.stride(0), slots.data_ptr(),
            min(len(slots), len(x)), scale,
        )  # fmt: skip
        if failed:
            raise RuntimeError(f"The compiler of this machine has no numbers of the kind {layer.kind}.")


@functools.cache
def load(cache: Path) -> Kernel:
    """The library from the folder `cache`, compiled first if it is not there: two seconds.

    Raises `RuntimeError` with the next step when there is no compiler, it fails, or the folder cannot be written.
    """
    compiler = _compiler()
    library = cache / f"lora-{_digest(compiler)}.so"
    try:
        if not library.exists():
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            _compile(compiler, library)
        return Kernel(library)
    except OSError as error:
        raise RuntimeError(
            f"The engine's operators for adapters cannot be kept in {cache} ({error}). Free some space there, or "
            "set VLLM_CACHE_ROOT to a folder that can be written to and executed from."
        ) from error


def _compiler() -> list[str]:
    """The command of `CXX`, else the first of the usual ones that is here."""
    ways = [shlex.split(os.environ.get("CXX", "")), ["g++"], ["c++"], ["clang++"]]
    found = next((way for way in ways if way and shutil.which(way[0])), None)
    if found is None:
        raise RuntimeError(
            "No C++ compiler here: the engine compiles its operators for adapters. On Debian: apt-get install "
            "build-essential."
        )
    return found


def _digest(compiler: list[str]) -> str:
    """Of source, compiler and flags, and of the processor, since a home may be shared by machines that differ."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    able = sorted({line for line in lines if line.lower().startswith(("flags", "features"))})
    parts = [SOURCE.read_text(), *compiler, *FLAGS, platform.machine(), *able]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: list[str], library: Path) -> None:
    """Under another name first: a file with the right name is whole."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*compiler, *FLAGS, str(SOURCE), "-o", str(made)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES * 60, check=False)
        if ran.returncode:
            last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RuntimeError(f"{compiler[0]} could not compile the engine's operators for adapters: {last}")
        made.replace(library)

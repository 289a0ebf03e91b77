"""Compiles `lora.cpp` for the processor it runs on, and calls it: what adapters add to a linear layer.

Owns the compiled library, kept under the digest of all that it depends on, and how a layer's weights are laid out for
it. Knows nothing of vLLM, nor whose adapter is in which slot.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
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
def load(cache: Path) -> Kernel:
    """The library from the folder `cache`, compiled first if it is not there or does not load: two seconds.

    Raises `RuntimeError` with the next step when there is no compiler, it fails, or the folder cannot be used.
    """
    library = cache / f"lora-{_digest()}.so"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = cache.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise RuntimeError(
                f"{cache} can be written to by others, who could put their code there. Remove it, or set "
                "VLLM_CACHE_ROOT to a folder of your own."
            )
        if library.exists():
            # One that does not load here, as the libraries it needs are gone, is made anew.
            with contextlib.suppress(OSError):
                return Kernel(library)
        _compile(library)
        return Kernel(library)
    except OSError as error:
        raise RuntimeError(
            f"The engine's operators for adapters cannot be kept in {cache} ({error}). Free some space there, or "
            "set VLLM_CACHE_ROOT to a folder that can be written to and executed from."
        ) from error


def _digest() -> str:
    """Of source and flags, and of the processor, since a home may be shared by machines that differ."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    able = sorted({line for line in lines if line.lower().startswith(("flags", "features"))})
    parts = [SOURCE.read_text(), *FLAGS, platform.machine(), *able]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(library: Path) -> None:
    """Under another name first: a file with the right name is whole."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*_compiler(), *FLAGS, str(SOURCE), "-o", str(made)]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=MINUTES * 60, check=True)
        except subprocess.SubprocessError as error:
            lines = str(getattr(error, "stderr", None) or error).splitlines()
            told = next((line for line in lines if "error" in line or "cannot find" in line), lines[-1])
            raise RuntimeError(
                f"{command[0]} could not compile the engine's operators for adapters ({told.strip()}). Install g++ (on "
                "Debian: apt-get install build-essential), or set CXX to a compiler that knows OpenMP."
            ) from error
        with made.open("rb") as whole:
            os.fsync(whole.fileno())  # a library that a power cut shortened would kill who loads it
        made.replace(library)


def _compiler() -> list[str]:
    """The command of `CXX`, else the first of the usual ones that is here."""
    ways = [os.environ.get("CXX", "").split(), ["g++"], ["c++"], ["clang++"]]
    found = next((way for way in ways if way and shutil.which(way[0])), None)
    if found is None:
        raise RuntimeError(
            "No C++ compiler here: the engine compiles its operators for adapters. On Debian: apt-get install "
            "build-essential."
        )
    return found

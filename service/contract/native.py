"""C++ of ours, compiled for the processor it runs on: a library for each source, kept in a folder of the user's.

Owns the compiled libraries, each under the digest of its source, the flags and the processor, and not of the compiler,
which need not be there any more: two seconds the first time on a machine. The sources lie beside those who call them;
`vectors.h`, which they share, lies here. Knows no operation.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

HEADERS = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=gnu++17", "-fopenmp", "-shared", "-fPIC")
"""GNU's C++, not ISO's: it lets a multiplication and an addition become one instruction."""
MINUTES = 5
"""The compiler may take, on a machine that is busy."""


def cache() -> Path:
    """Where libraries are kept: beside what vLLM compiles, and moved with it by `VLLM_CACHE_ROOT`."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("VLLM_CACHE_ROOT") or f"{root}/vllm").expanduser() / "tailorbird"


def library(source: Path, folder: Path, what: str) -> ctypes.CDLL:
    """The library of `source` from `folder`, compiled first if it is not there or does not load. `what` it is stands in
    messages.

    Raises `RuntimeError` with the next step when there is no compiler, it fails, or the folder cannot be used.
    """
    made = folder / f"{source.stem}-{digest(source)}.so"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise RuntimeError(
                f"{folder} can be written to by others, who could put their code there. Remove it, or set "
                "VLLM_CACHE_ROOT to a folder of your own."
            )
        if made.exists():
            # One that does not load here, as the libraries it needs are gone, is made anew.
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(made))
        _compile(source, made, what)
        return ctypes.CDLL(str(made))
    except OSError as error:
        raise RuntimeError(
            f"{what[0].upper()}{what[1:]} cannot be kept in {folder} ({error}). Free some space there, or set "
            "VLLM_CACHE_ROOT to a folder that can be written to and executed from."
        ) from error


def digest(source: Path) -> str:
    """Of source and flags, and of the processor, since a home may be shared by machines that differ."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    able = sorted({line for line in lines if line.lower().startswith(("flags", "features"))})
    headers = [header.read_text() for header in sorted(HEADERS.glob("*.h"))]
    parts = [source.read_text(), *headers, *FLAGS, platform.machine(), *able]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(source: Path, library: Path, what: str) -> None:
    """Under another name first: a file with the right name is whole."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*_compiler(what), *FLAGS, f"-I{HEADERS}", str(source), "-o", str(made)]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=MINUTES * 60, check=True)
        except subprocess.SubprocessError as error:
            lines = str(getattr(error, "stderr", None) or error).splitlines()
            told = next((line for line in lines if "error" in line or "cannot find" in line), lines[-1])
            raise RuntimeError(
                f"{command[0]} could not compile {what} ({told.strip()}). Install g++ (on Debian: apt-get install "
                "build-essential), or set CXX to a compiler that knows OpenMP."
            ) from error
        with made.open("rb") as whole:
            os.fsync(whole.fileno())  # a library that a power cut shortened would kill who loads it
        made.replace(library)


def _compiler(what: str) -> list[str]:
    """The command of `CXX`, else the first of the usual ones that is here."""
    ways = [os.environ.get("CXX", "").split(), ["g++"], ["c++"], ["clang++"]]
    found = next((way for way in ways if way and shutil.which(way[0])), None)
    if found is None:
        raise RuntimeError(
            f"No C++ compiler here: {what} are compiled. On Debian: apt-get install build-essential."
        )
    return found

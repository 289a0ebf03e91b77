"""One checkpoint of a base model and an adapter: `python -m training.merge ADAPTER_FOLDER BASE_FOLDER OUT_FOLDER`.

For whoever takes a tuned model elsewhere. Merged in the base model's own precision, read back from disk and held
against the two that it was made of, in fp32: what does not agree is not kept. Written to a folder beside OUT_FOLDER
that is renamed last. Runs on the processor and asks no hub. Knows no runs and no jobs.
"""

import argparse
import errno
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contract import fingerprint, folder
from service.contract.chat import Message
from service.contract.fingerprint import base_sha256
from service.contract.jobs import Manifest
from training.refusal import Refused

TOLERANCE = 0.1
"""How far a logit of the merged model may be from the adapter's, in the mean over prompts, tokens and vocabulary."""
LOST = 0.5
"""And as a share of what the adapter changes: the rounding of a coarse precision can swallow a small change whole."""
QUESTIONS = (
    "Who are you, and what can you help me with?",
    "Explain in two sentences why the sky is blue.",
    "Quels sont vos horaires d'ouverture ?",
    "Write a short, polite answer to a customer whose parcel is late.",
)
MARK = "tailorbird_adapter"
"""The key of `config.json` that names the adapter in a merged model. With it the checkpoint has a fingerprint of its
own, so that no adapter of the base model is taken for one of this."""
ORIGIN = "adapter_manifest.json"
TAKEN_ALONG = (".json", ".jinja", ".txt", ".model")
NOTICES = ("LICENSE", "LICENCE", "NOTICE")


@dataclass(frozen=True)
class Agreement:
    """What was measured, in fp32. Figures are differences of logits."""

    tokens: int
    mean: float
    """Merged against base with adapter."""
    largest: float
    change: float
    """Base without the adapter against base with it, in the mean: what there is to keep."""

    def __str__(self) -> str:
        return (
            f"logits differ from the adapter's by {self.mean:.2g} in the mean ({self.largest:.2g} at most), the base "
            f"model's by {self.change:.2g}; allowed are {self.allowed:.2g}; in fp32, on {self.tokens} tokens of "
            f"{len(QUESTIONS)} prompts"
        )

    @property
    def allowed(self) -> float:
        return min(TOLERANCE, LOST * self.change)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 when the merged model stands in its folder."""
    parser = argparse.ArgumentParser(prog="python -m training.merge", description="Merge an adapter.")
    parser.add_argument("adapter", type=Path, metavar="ADAPTER_FOLDER", help="as a job or an export left it")
    parser.add_argument("base", type=Path, metavar="BASE_FOLDER", help="the checkpoint it was made for")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="must not be there yet")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    # Read by torch and transformers when they are imported, which happens in `merge`.
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", TOKENIZERS_PARALLELISM="false", **quiet)
    try:
        agreement = merge(given.adapter.absolute(), given.base.absolute(), given.out.absolute(), _say)
    except Refused as error:
        return _fail(error.message)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  the edge: whatever went wrong must be said in a line
        traceback.print_exc()
        return _fail(f"failed ({type(error).__name__}: {error})".splitlines()[0][:300])
    _say(f"ready in {given.out}; {agreement}")
    return 0


def merge(adapter: Path, base: Path, out: Path, say: Callable[[str], None] = lambda line: None) -> Agreement:
    """Write the merged checkpoint to `out`, whole or not at all. Raises `Refused`."""
    _check(adapter, base, out)
    side = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        say("asking the base model with and without the adapter, in fp32")
        prompts = _prompts(base)
        tuned, bare = _logits_of_two(base, adapter, prompts)
        say("merging in the base model's own precision")
        _write(adapter, base, side)
        say("asking what was written")
        agreement = _compare(_logits_of_one(side, prompts), tuned, bare)
        check_agreement(agreement)
        _rename(side, out)
    except Exception as error:
        if _is_full(error):
            raise Refused("disk_full", f"The disk of {out.parent} is full. Free some space.") from error
        raise
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return agreement


def check_agreement(agreement: Agreement) -> None:
    """Raise `Refused` unless the merged weights do what the adapter does."""
    if not agreement.mean <= agreement.allowed:  # also where it is not a number
        raise Refused(
            "merge_differs",
            f"The merged model does not answer as the adapter does: its {agreement}. Nothing was kept; serve the "
            "adapter beside its base model instead.",
        )


def _check(adapter: Path, base: Path, out: Path) -> None:
    """Everything that can be known before a weight is read."""
    if os.path.lexists(out):
        raise Refused("out_exists", f"{out} is there already. Name a folder that is not, or remove it.")
    manifest = _manifest(adapter)
    if not (base / "config.json").is_file():
        raise Refused("bad_base_model", f"There is no base model in {base}: config.json is missing.")
    config = folder.read_json(base / "config.json")
    if config.get(MARK):
        raise Refused("wrong_base_model", f"{base} holds a merged model. Name the base model it was made of.")
    if config.get("quantization_config"):
        raise Refused(
            "bad_base_model", f"The base model in {base} is quantised. Merge into the one it was made of."
        )
    if manifest.base_sha256 != base_sha256(base):
        raise Refused(
            "wrong_base_model",
            f"The adapter was made for another base model ('{manifest.base_model}') than the one in {base}: "
            "config.json or the weight files are not the same. Name the folder it was trained on.",
        )
    if manifest.template_sha256 != fingerprint.template_sha256(base):
        raise Refused(
            "wrong_template",
            f"The adapter was made with another chat template than the one in {base}. Name the folder that it "
            "was trained on.",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(file.stat().st_size for file in base.iterdir() if file.is_file())
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise Refused(
            "disk_full",
            f"The merged model takes {needed / 1e9:.2f} GB and {out.parent} has {free / 1e9:.2f} GB left. Free some "
            "space.",
        )


def _manifest(adapter: Path) -> Manifest:
    """Without it nothing says which base model the adapter belongs to."""
    try:
        for name in fingerprint.ADAPTER_FILES:
            if not (adapter / name).is_file():
                raise FileNotFoundError(name)
        return Manifest.model_validate(folder.read_json(adapter / folder.MANIFEST))
    except (OSError, ValueError):
        raise Refused(
            "bad_adapter",
            f"There is no adapter of Tailorbird in {adapter}: of {', '.join(fingerprint.ADAPTER_FILES)} one is missing "
            "or broken. Name the folder that a job or an export left.",
        ) from None


def _prompts(base: Path) -> list[list[int]]:
    """As the engine is given them, by the model's own chat template."""
    from training.model import load_chat

    chat = load_chat(base)
    return [chat.ids([Message(role="user", content=said)], answer_next=True) for said in QUESTIONS]


def _logits_of_two(base: Path, adapter: Path, prompts: list[list[int]]) -> tuple[list[Any], list[Any]]:
    """Of the base model with the adapter, and without."""
    import torch
    from peft import PeftModel

    model = PeftModel.from_pretrained(_load(base, torch.float32), adapter).eval()
    tuned = _logits(model, prompts)
    with model.disable_adapter():
        return tuned, _logits(model, prompts)


def _logits_of_one(checkpoint: Path, prompts: list[list[int]]) -> list[Any]:
    import torch

    return _logits(_load(checkpoint, torch.float32).eval(), prompts)


def _logits(model: Any, prompts: list[list[int]]) -> list[Any]:
    import torch

    with torch.inference_mode():
        return [model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in prompts]


def _load(checkpoint: Path, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, attn_implementation="sdpa")


def _write(adapter: Path, base: Path, side: Path) -> None:
    """Weights and configuration as transformers writes them; tokenizer, chat template and notices byte by byte.

    The product of the adapter's matrices is added in fp32 and rounded once.
    """
    from peft import PeftModel

    model: Any = PeftModel.from_pretrained(_load(base, "auto"), adapter)
    model.merge_and_unload().save_pretrained(side)
    for file in sorted(base.iterdir()):
        told = file.name.upper().startswith(NOTICES) or file.suffix in TAKEN_ALONG
        if file.is_file() and told and file.name != "config.json" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, side / file.name)
    shutil.copyfile(adapter / folder.MANIFEST, side / ORIGIN)
    config = folder.read_json(side / "config.json")
    folder.write_json(side / "config.json", {**config, MARK: fingerprint.adapter_sha256(adapter)})


def _compare(merged: list[Any], tuned: list[Any], bare: list[Any]) -> Agreement:
    import torch

    off = torch.cat([(one - other).abs() for one, other in zip(merged, tuned, strict=True)])
    change = torch.cat([(one - other).abs() for one, other in zip(bare, tuned, strict=True)]).mean().item()
    return Agreement(len(off), off.mean().item(), off.max().item(), change)


def _rename(side: Path, out: Path) -> None:
    if os.path.lexists(out):
        raise Refused("out_exists", f"{out} came into being meanwhile. Name a folder that is not there.")
    os.rename(side, out)


def _is_full(error: Exception) -> bool:
    """The library that writes weights has an error of its own, which only tells the number in words."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)


def _say(line: str) -> None:
    print(f"merge: {line}", flush=True)  # noqa: T201  a command line


def _fail(line: str) -> int:
    print(f"merge: {line}", file=sys.stderr)  # noqa: T201
    return 1


def _stop(*_: object) -> None:
    """SystemExit, so that the side folder is removed on the way out."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

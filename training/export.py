"""What a run leaves behind: the adapter and its manifest, the proof cases, and the report, written last.

The adapter is written to a side folder that is renamed when whole, then read back from disk for the proof.
Owns the files' shapes on disk. Knows no trainer.
"""

import importlib.metadata
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from service.contract import folder
from service.contract.fingerprint import base_sha256
from service.contract.jobs import Manifest, ProofCase, TrainingReport, TrainingSpec
from training import checkpoint, fingerprint
from training.data import Chat, last_answer
from training.fingerprint import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from training.model import load_base, multiplies_bf16
from training.refusal import Refused
from training.rows import NamedRow, Rows, plain, prompt_messages

PROOF_CASES = 6
PROOF_TOKENS = 64
VERSIONS = ("torch", "transformers", "peft", "trl")


def write(
    run: Path, spec: TrainingSpec, model: PeftModel, chat: Chat, rows: Rows, report: TrainingReport
) -> None:
    """Save the adapter, prove what it computes, then write the report: its existence means done.

    Raises `Refused` with code `adapter_changes_nothing` when the saved adapter equals the base model.
    """
    adapter = _save(run, spec, model)
    proof = _proof(spec, adapter, chat, rows)
    if all(case.adapter_logprobs == case.base_logprobs for case in proof):
        raise Refused(
            "adapter_changes_nothing",
            "The trained adapter computes what the base model does. Raise the learning rate or the epochs.",
        )
    lines = "".join(case.model_dump_json() + "\n" for case in proof)
    folder.write_atomic(run / folder.PROOF, lines)
    folder.write_json(run / folder.REPORT, report.model_dump())
    checkpoint.forget(run)


def _save(run: Path, spec: TrainingSpec, model: PeftModel) -> Path:
    """Write `adapter/`: safetensors weights, PEFT's config and the manifest, and nothing else."""
    side, final = run / f".{folder.ADAPTER}.{os.getpid()}", run / folder.ADAPTER
    # The config is part of the adapter's digest: a name instead of this machine's path, a list instead of a set.
    config: Any = model.peft_config["default"]
    config.base_model_name_or_path = spec.base_name
    config.target_modules = sorted(config.target_modules)
    try:
        model.save_pretrained(str(side), selected_adapters=["default"], save_embedding_layers=False)
        for file in side.iterdir():
            if file.name not in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
                file.unlink()  # PEFT's model card
        folder.write_json(side / folder.MANIFEST, _manifest(spec).model_dump())
        os.rename(side, final)
    finally:
        shutil.rmtree(side, ignore_errors=True)
    return final


def _manifest(spec: TrainingSpec) -> Manifest:
    base = Path(spec.base_model)
    return Manifest(
        kind=spec.kind,
        base_model=spec.base_name,
        base_sha256=base_sha256(base),
        template_sha256=fingerprint.template_sha256(base),
        train_sha256=spec.train_sha256,
        parent=spec.start_digest,
        job=spec.id,
        settings=spec.settings,
        versions={name: importlib.metadata.version(name) for name in VERSIONS},
        created_at=int(time.time()),
    )


def _proof(spec: TrainingSpec, adapter: Path, chat: Chat, rows: Rows) -> list[ProofCase]:
    """Cases spread over the held-out rows, or over the training rows when none are held out.

    Computed as the engine does: base and adapter in the precision this machine is fast at, one case at a
    time, nothing padded.
    """
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    pool = rows.held_out or rows.train
    model = PeftModel.from_pretrained(
        load_base(Path(spec.base_model), dtype), adapter, autocast_adapter_dtype=False
    )
    model = model.to(dtype).eval()
    return [_case(model, chat, named) for named in pool[:: -(-len(pool) // PROOF_CASES)]]


def _case(model: Any, chat: Chat, named: NamedRow) -> ProofCase:
    prompt, completion = last_answer(chat, named)
    completion = completion[:PROOF_TOKENS]
    with_adapter = _logprobs(model, prompt, completion)
    with model.disable_adapter():
        without = _logprobs(model, prompt, completion)
    return ProofCase(
        messages=plain(prompt_messages(named.row)),
        prompt_tokens=prompt,
        completion_tokens=completion,
        adapter_logprobs=with_adapter,
        base_logprobs=without,
    )


@torch.no_grad()
def _logprobs(model: Any, prompt: list[int], completion: list[int]) -> list[float]:
    """The log-probability of each completion token given all before it; the softmax is taken in fp32."""
    ids = torch.tensor([prompt + completion], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])
    return [round(value, 6) for value in chosen.squeeze(-1).tolist()]

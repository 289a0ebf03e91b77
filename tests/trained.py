"""Trainings that have ended, without a training: run folders as a trainer leaves them, for the real worker to publish.

The weights are drawn by chance; the figures of the proof are PEFT's own, computed from the files on disk as the
trainer computes them. So what is published is proved by the running engine like any other adapter.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from service.contract import folder
from service.contract.fingerprint import base_sha256, template_sha256
from service.contract.jobs import Manifest, ProofCase, TrainingReport, TrainingSettings
from service.db import tables
from service.db.session import Database
from service.domain.identity import new_id, now
from service.settings import EMBEDDED, Settings
from tests.service.engine.adapters import write_adapter

QUESTION = [{"role": "user", "content": "Who mends the bridges of Brumelle?"}]
ANSWER = "The bridges of Brumelle are mended by a bird that sews."


class Trainer:
    """Computes proofs with the base model at `model`, which it loads once (half a gigabyte in fp32)."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from training.model import multiplies_bf16

        self.model = model
        self._dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
        self._base = AutoModelForCausalLM.from_pretrained(model, dtype=self._dtype)
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
        self._answer = tokenizer(ANSWER).input_ids
        self._without = self._logprobs(self._base)

    def proof(self, adapter: Path) -> ProofCase:
        from peft import PeftModel

        tuned = PeftModel.from_pretrained(self._base, adapter, autocast_adapter_dtype=False)
        try:
            found = self._logprobs(tuned.to(self._dtype).eval())
        finally:
            self._base = tuned.unload()
        return ProofCase(
            messages=QUESTION, prompt_tokens=self._prompt, completion_tokens=self._answer,
            adapter_logprobs=found, base_logprobs=self._without,
        )  # fmt: skip

    def _logprobs(self, model: Any) -> list[float]:
        return logprobs(model, self._prompt, self._answer)


def logprobs(model: Any, prompt: list[int], completion: list[int]) -> list[float]:
    """The log-probability of each completion token given all before it, by a model of transformers or PEFT."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.float().log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])
    return chosen.squeeze(-1).tolist()


@dataclass(frozen=True)
class Ended:
    """A training that has ended and is not published yet."""

    job_id: str
    place: Path


def ended_training(
    home: Path, trainer: Trainer, *, seed: int, rank: int = 8, strength: float = 0.04
) -> Ended:
    """Lay out its run folder in the service at `home`. Nobody looks at it before `hand_over`."""
    job_id = new_id("ftjob-")
    place = home / "jobs" / job_id
    write_adapter(place / folder.ADAPTER, trainer.model, seed=seed, rank=rank, strength=strength)
    manifest = Manifest(
        kind="sft", base_model=trainer.model.name, base_sha256=base_sha256(trainer.model),
        template_sha256=template_sha256(trainer.model), train_sha256="0" * 64, parent=None, job=job_id,
        settings=_settings(seed), versions={}, created_at=now(),
    )  # fmt: skip
    (place / folder.ADAPTER / folder.MANIFEST).write_text(manifest.model_dump_json())
    proof = trainer.proof(place / folder.ADAPTER)
    (place / folder.PROOF).write_text(proof.model_dump_json() + "\n")
    report = TrainingReport(
        steps=1, epochs=1.0, rows=10, held_out=0, trained_tokens=100, seconds=1.0, metrics={"train_loss": 1.0}
    )
    (place / folder.REPORT).write_text(json.dumps(report.model_dump()))
    return Ended(job_id, place)


def hand_over(home: Path, ended: Ended, *, assistant: str | None) -> str:
    """Queue its job, which the worker finds done and has only to publish. Returns the job's id."""
    asyncio.run(_queue(home, ended.job_id, assistant))
    return ended.job_id


async def _queue(home: Path, job_id: str, assistant: str | None) -> None:
    database = Database(Settings(home=home).database)
    try:
        async with database.writing() as session:
            user = await session.scalar(select(tables.User.id).order_by(tables.User.created_at))
            session.add(
                tables.Job(
                    id=job_id, kind="sft", status="queued", user_id=user, model=EMBEDDED,
                    request={"model": EMBEDDED, "training_file": "file-none", "suffix": "drawn"},
                    settings=_settings(0).model_dump(), assistant=assistant, attempts=0,
                    cancel_requested=False, created_at=now(),
                )
            )  # fmt: skip
    finally:
        await database.close()


def _settings(seed: int) -> TrainingSettings:
    return TrainingSettings(n_epochs=1, batch_size=1, learning_rate=1e-4, seed=seed)

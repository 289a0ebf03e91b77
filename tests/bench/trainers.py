"""One trainer in a process of its own: ours as a job runs it, or TRL's with TRL's defaults, on the same tokens.

It makes a pass over the rows when it is told to, so that the two take turns on the machine. Talks over a pipe:
`READY` before the first pass, a `Pass` after each, `Ended` at last. Torch and TRL are imported in that process only.
"""

import importlib
import math
import os
import time
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from service.contract.jobs import TrainingSpec
from tests.bench.runs import spec_of
from training import memory

READY, GO = "ready", "go"


@dataclass(frozen=True)
class Pass:
    """What one pass over the rows took."""

    seconds: float
    processor: float


@dataclass(frozen=True)
class Ended:
    """What is known when all passes are made."""

    reference: float
    """Seconds in which the reference was asked beforehand: DPO, ours."""
    read: int
    """Tokens of one pass: every row whole, of a preference pair the prompt with each answer."""
    learned: int
    """Those of them that carry loss."""
    before: float
    loss: float
    """On held-out rows, computed plainly and alike for both."""
    peak: int
    """Bytes of memory, before the held-out rows were asked."""


def run(side: str, job: Path, held_out: Path, log: Path, way: Connection) -> None:
    """The process: `side` is `ours` or `trl`; `job` and `held_out` are run folders."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if side == "ours":
        importlib.import_module("training.__main__").set_up(None)
    warnings.simplefilter("ignore")
    trainer, learned, seconds = (_ours if side == "ours" else _trl)(job, spec_of(job), way)
    assert way.recv() == GO  # the other may still be timed
    peak = memory.peak() or 0
    loss = _losses(trainer.model, _tokens(held_out, spec_of(held_out)))
    read, carry = sum(row.read for row in learned), sum(row.learned for row in learned)
    way.send(Ended(seconds, read, carry, *loss, peak))


def _ours(job: Path, spec: TrainingSpec, way: Connection) -> tuple[Any, list[Any], float]:
    """The steps of `python -m training`, but for the adapter's export and proof."""
    from training import progress, steps

    reference = _timed_reference()
    lines = progress.StepLines(job)
    ready = importlib.import_module(f"training.{spec.kind}").prepare(job, spec, lines)
    ready.trainer.add_callback(_turns(way))
    steps.make(ready, job, spec, lines)
    return ready.trainer, list(ready.learned), sum(reference)


def _trl(job: Path, spec: TrainingSpec, way: Connection) -> tuple[Any, list[Any], float]:
    """TRL as its documentation begins: a model's path, a configuration as it comes, a `LoraConfig`.

    What decides how well it learns, and not how fast, is the job's: rank, layers, rate, passes, seed and batch (which
    is also TRL's own). The rows are given as token ids, so that both learn the same tokens.
    """
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    settings, learned = spec.settings, _tokens(job, spec)
    columns = {
        "sft": ("input_ids", "labels"), "dpo": ("prompt_ids", "chosen_ids", "rejected_ids"),
    }[spec.kind]  # fmt: skip
    rows = Dataset.from_list([{name: getattr(row, name) for name in columns} for row in learned])

    class Tokenised(trl.DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    sides: dict[str, tuple[Any, Any]] = {
        "sft": (trl.SFTTrainer, trl.SFTConfig), "dpo": (Tokenised, trl.DPOConfig),
    }  # fmt: skip
    trainer_of, config_of = sides[spec.kind]
    trainer = trainer_of(
        model=spec.base_model,
        args=config_of(
            output_dir=str(job), learning_rate=settings.learning_rate, num_train_epochs=settings.n_epochs,
            per_device_train_batch_size=settings.batch_size, seed=settings.seed, report_to="none",
            save_strategy="no", use_cpu=not torch.cuda.is_available(),  # or it asks for a GPU and ends
        ),
        train_dataset=rows,
        peft_config=LoraConfig(
            r=settings.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM",
            lora_alpha=settings.lora_alpha,  # pyrefly: ignore[bad-argument-type]  PEFT takes a fraction as well
        ),
        callbacks=[_turns(way)],
    )  # fmt: skip
    trainer.train()
    return trainer, learned, 0.0


def _turns(way: Connection) -> Any:
    """A callback that waits before each pass until it is told to go, and tells what it took.

    It draws the new adapter anew before the first: from the same one both sides come out nearer to each other than
    one side does from two.
    """
    import torch
    from transformers import TrainerCallback

    class Turns(TrainerCallback):
        def on_train_begin(self, args: Any, *_: Any, model: Any, **__: Any) -> None:
            torch.manual_seed(args.seed)
            for name, weight in model.named_parameters():
                if "lora_A" in name:  # as PEFT draws them; the others are 0
                    torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            way.send(READY)

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            assert way.recv() == GO
            self.began, self.processor = time.monotonic(), time.process_time()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            way.send(Pass(time.monotonic() - self.began, time.process_time() - self.processor))

    return Turns()


def _timed_reference() -> list[float]:
    """Seconds of each asking of the reference from now on: TRL does it where a trainer is made."""
    from trl.trainer.dpo_trainer import DPOTrainer

    plain, seconds = DPOTrainer._precompute_ref_logps, []

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        found = plain(*args, **kwargs)
        seconds.append(time.monotonic() - began)
        return found

    DPOTrainer._precompute_ref_logps = timed
    return seconds


def _tokens(job: Path, spec: TrainingSpec) -> list[Any]:
    from training import data, rows
    from training.tokenizer import load_chat

    chat = load_chat(Path(spec.base_model))
    return data.MAKE[spec.kind](chat, rows.load(job, spec).train, spec.settings.max_length)


def _losses(model: Any, tokens: list[Any]) -> tuple[float, float]:
    """The held-out loss of the base model and of the tuned one: nats a token, or DPO's own for pairs."""
    model.eval()
    with model.disable_adapter():
        base = [_logprobs(model, row) for row in tokens]
    tuned = [_logprobs(model, row) for row in tokens]
    if hasattr(tokens[0], "labels"):
        learned = sum(row.learned for row in tokens)
        return -sum(map(sum, base)) / learned, -sum(map(sum, tuned)) / learned
    margins = [(t[0] - b[0]) - (t[1] - b[1]) for t, b in zip(tuned, base, strict=True)]
    return math.log(2), sum(math.log1p(math.exp(-0.1 * one)) for one in margins) / len(margins)


def _logprobs(model: Any, row: Any) -> list[float]:
    """Log-probability of each answer of a row, one sequence at a time."""
    import torch

    found = []
    for ids, labels in _sequences(row):
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
        wanted = torch.tensor(labels[1:])
        told = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        found.append(-told.item())
    return found


def _sequences(row: Any) -> list[tuple[list[int], list[int]]]:
    if hasattr(row, "labels"):
        return [(row.input_ids, row.labels)]
    before = [-100] * len(row.prompt_ids)
    return [(row.prompt_ids + ids, before + ids) for ids in (row.chosen_ids, row.rejected_ids)]

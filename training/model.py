"""The base model, the LoRA adapter on top, and the trainer settings all methods share.

Everything chosen here is something vLLM can serve: LoRA on linear layers only, no DoRA, no bias, no fully
trained modules. Adapter weights are always fp32. Where the hardware multiplies bf16 itself (a GPU, or a
processor with AMX or AVX512-BF16) the base is bf16 under bf16 autocast; elsewhere bf16 is emulated, so the
base is fp32: on a Xeon without either, one core and a step of 512 tokens, 3.9 s of processor time in fp32
against about 24 s in bf16. Without a GPU nothing is recomputed in the backward pass. Knows no rows and no loss.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from service.contract.jobs import TrainingSettings, TrainingSpec
from training import start_adapter
from training.gate import join_gates
from training.lora_linear import join_adapters
from training.norm import join_norms
from training.shared_prefix import share_prefixes
from training.tokenizer import load_chat as load_chat

MICRO_BATCH = 8
"""Rows in one forward pass at most; a larger batch is summed from equal parts."""
MICRO_TOKENS = 1024
"""Tokens in one forward pass at most, unless a single row has more: it bounds the memory of long rows (64
rows of some 250 tokens held 4.9 GB in batches of 8)."""


def load_base(base: Path, dtype: torch.dtype) -> Any:
    """The frozen base model, on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="sdpa")
    return model.to(device)


def multiplies_bf16() -> bool:
    """Whether bf16 is the fast precision here, rather than an emulated one."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    processor = torch.cpu.get_capabilities()
    return bool(processor.get("amx_bf16") or processor.get("avx512_bf16"))


def precision(model: Any) -> torch.autocast:
    """What a model is asked in outside a trainer, as it is trained."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=multiplies_bf16())


def load_policy(spec: TrainingSpec) -> PeftModel:
    """The base model with a trainable adapter: the start adapter if the job names one, else a new one.

    A new adapter changes nothing until it is trained. Raises `Refused` with code `bad_start_adapter`.
    """
    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    base = Path(spec.base_model)
    if spec.start_adapter is None:
        torch.manual_seed(spec.settings.seed)  # the new adapter's weights are drawn here
        policy = get_peft_model(load_base(base, dtype), _lora(spec.settings))
    else:
        start = Path(spec.start_adapter)
        start_adapter.check(start, spec)
        policy = PeftModel.from_pretrained(load_base(base, dtype), start, is_trainable=True)
    share_prefixes(policy)
    join_adapters(policy)
    join_norms(policy)
    join_gates(policy)
    return policy


def trained_weights(policy: Any) -> dict[str, torch.Tensor]:
    """A copy of what training changes: the adapter, without a reference that stands beside it."""
    return {
        name: value.detach().cpu().clone() for name, value in policy.named_parameters() if value.requires_grad
    }


@torch.no_grad()
def set_trained_weights(policy: Any, weights: dict[str, torch.Tensor]) -> None:
    """Put such a copy back."""
    own = dict(policy.named_parameters())
    for name, value in weights.items():
        own[name].copy_(value)


def trainer_arguments(
    run: Path,
    settings: TrainingSettings,
    learned: Sequence[Any],
    held_out: Sequence[Any],
    *,
    together: int = 1,
) -> dict[str, Any]:
    """The settings that the trainers' configurations share, for these rows (of `training.data`).

    Rows are drawn at random: batches of similar lengths pad less, but what is learnt together then has more in
    common and held-out loss ends higher (BANKING77, four seeds: 0.35 and 0.30 nats a token). A forward pass holds
    at least `together` rows if that divides the batch. When a checkpoint is written is told by `training.checkpoint`.
    """
    gpu = torch.cuda.is_available()
    steps = math.ceil(len(learned) / settings.batch_size) * settings.n_epochs
    longest = max(row.length for row in (*learned, *held_out))
    at_once = max(together, min(MICRO_BATCH, MICRO_TOKENS // longest))
    micro = largest_divisor(settings.batch_size, at_once)
    return {
        "output_dir": str(run),
        "num_train_epochs": settings.n_epochs,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // micro,
        # TRL averages a pair's figures by batch: equal batches make it the average over pairs.
        "per_device_eval_batch_size": largest_divisor(max(len(held_out), 1), at_once),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        # Rounded down: the first warm-up step has rate 0, which would be all of a short run.
        "warmup_steps": int(settings.warmup_share * steps),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": settings.seed,
        "bf16": multiplies_bf16(),
        "use_cpu": not gpu,
        "gradient_checkpointing": gpu,
        "train_sampling_strategy": "random",
        "remove_unused_columns": False,  # the collators take what they know
        "eval_strategy": "epoch" if held_out else "no",
        "eval_on_start": bool(held_out),
        "prediction_loss_only": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is not finite must be seen, and ends the run
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
        "max_length": None,  # rows that are too long have been refused by name
    }


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)


def _lora(settings: TrainingSettings) -> LoraConfig:
    """LoRA (arXiv 2106.09685) on all linear layers but the output head, where it matches full tuning best."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # pyrefly: ignore[bad-argument-type]  PEFT takes a fraction as well
        use_rslora=settings.use_rslora,
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
    )

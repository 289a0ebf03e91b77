"""How `auto` becomes a number: the settings of a training run, from its kind, its rows and the base model.

Owns every default of training and its reason. Knows no job and no trainer.
"""

from math import inf

from service.contract.jobs import Hyperparameters, JobKind, TrainingSettings

BASE_RATE: dict[str, float] = {"sft": 2e-3, "dpo": 5e-5}
"""Learning rates of LoRA at a multiplier of 1, for a model of `WIDTH`."""
WIDTH = 576
NARROWER = 0.781
"""A wider model wants a lower rate: in proportion to its width to this power (Thinking Machines, "LoRA
without regret", 2025, fitted on Llama models)."""
UNKNOWN_WIDTH = 4096
EPOCHS: dict[str, list[tuple[float, int]]] = {
    "sft": [(100, 5), (1000, 3), (5000, 2), (inf, 1)],
    "dpo": [(50, 3), (inf, 2)],
}
"""Passes over the rows: `(below so many rows, passes)`."""


def resolve(
    kind: JobKind, given: Hyperparameters, *, rows: int, seed: int, max_length: int, width: int | None
) -> TrainingSettings:
    """Every number of a training run, `auto` replaced. `width` is the base model's hidden size.

    SFT: LoRA wants about ten times the rate of full tuning and small batches (as above); few rows are seen more
    often. On 672 rows about 56 facts, facts recalled in English and French: two passes at 1e-3 86 % and 55 %, at
    2e-3 93 % and 75 %, at 3e-3 91 % and 61 %; three passes at 2e-3 100 % and 91 %, in batches of 8 at 4e-3 93 %
    and 82 %. A rate eight times as high for LoRA's B (LoRA+) fits sooner and recalls no more: 91 % and 64 % after
    two passes. DPO: a low rate and few passes, since the chosen answer's own probability falls when pushed hard
    (eric-mitchell/direct-preference-optimization#36).
    """
    value = {name: None if chosen == "auto" else chosen for name, chosen in given.model_dump().items()}
    passes = next(n for limit, n in EPOCHS[kind] if rows < limit)
    batch = 8 if kind == "sft" and rows >= 2000 else 4
    rate = BASE_RATE[kind] * min(1.0, (WIDTH / (width or UNKNOWN_WIDTH)) ** NARROWER)
    return TrainingSettings(
        n_epochs=value["n_epochs"] or passes, batch_size=value["batch_size"] or batch,
        learning_rate=float(f"{rate * (value['learning_rate_multiplier'] or 1.0):.3g}"),
        beta=value["beta"] or 0.1, seed=seed, max_length=max_length,
    )  # fmt: skip

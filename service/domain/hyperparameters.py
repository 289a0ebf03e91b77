"""How `auto` becomes a number: the settings of a training run, from its kind, its rows and the base model.

Owns every default of training and its reason. Knows no job and no trainer.
"""

from math import ceil, floor, inf

from service.contract.jobs import (
    MAX_WEIGHT,
    Hyperparameters,
    JobKind,
    KtoHyperparameters,
    TrainingSettings,
)
from service.errors import BadInput

BASE_RATE: dict[str, float] = {"sft": 2e-3, "dpo": 5e-5, "kto": 2.5e-4}
"""Learning rates of LoRA at a multiplier of 1, for a model of `WIDTH`."""
WIDTH = 576
NARROWER = 0.781
"""A wider model wants a lower rate: in proportion to its width to this power (Thinking Machines, "LoRA
without regret", 2025, fitted on Llama models)."""
UNKNOWN_WIDTH = 4096
EPOCHS: dict[str, list[tuple[float, int]]] = {
    "sft": [(100, 5), (1000, 3), (5000, 2), (inf, 1)],
    "dpo": [(50, 3), (inf, 2)],
    "kto": [(50, 3), (inf, 2)],
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
    (eric-mitchell/direct-preference-optimization#36). KTO: two to ten times DPO's rate, since its logistic function
    is given one reward and not the difference of two (arXiv 2402.01306); larger batches, since its KL estimate
    is a mean over the rows of a forward pass. Two passes over 100 true and 50 false answers, 40 held out: at 1e-4
    72.5 % of the rewards were right, their means +0.05 for true and -0.71 for false answers; at 2.5e-4 75 %, +0.20
    and -1.96. What else the model forgets was not measured.
    """
    value = {name: None if chosen == "auto" else chosen for name, chosen in given.model_dump().items()}
    passes = next(n for limit, n in EPOCHS[kind] if rows < limit)
    batch = 8 if kind == "kto" or (kind == "sft" and rows >= 2000) else 4
    rate = BASE_RATE[kind] * min(1.0, (WIDTH / (width or UNKNOWN_WIDTH)) ** NARROWER)
    return TrainingSettings(
        n_epochs=value["n_epochs"] or passes, batch_size=value["batch_size"] or batch,
        learning_rate=float(f"{rate * (value['learning_rate_multiplier'] or 1.0):.3g}"),
        beta=value["beta"] or 0.1, seed=seed, max_length=max_length,
    )  # fmt: skip


def label_weights(given: KtoHyperparameters, desirable: int, undesirable: int) -> tuple[float, float]:
    """The weights of desirable and undesirable rows, `auto` replaced, for so many rows of each.

    `auto` raises the rarer label until all rows of one label weigh what those of the other do: the share
    (desirable weight x rows) / (undesirable weight x rows) is to lie in [1, 4/3] (arXiv 2402.01306, eq. 8), and
    is 1. Where one weight is given, the other follows it. Raises `BadInput` for a file that cannot be balanced.
    """
    if not desirable or not undesirable:
        which = "desirable" if desirable else "undesirable"
        raise BadInput(
            f"Every row of the training file is {which}. KTO learns from the difference: add rows with "
            f'"label": {"false" if desirable else "true"}, or train on the good answers with method \'supervised\'.',
            param="training_file", code="one_label",
        )  # fmt: skip
    up, down = given.desirable_weight, given.undesirable_weight
    if up == "auto":
        other = 1.0 if down == "auto" else down
        # Rounded towards the inside of the interval. Where both are free, the commoner label counts 1.
        balanced = ceil(other * undesirable / desirable * 1e4) / 1e4
        up = max(1.0, balanced) if down == "auto" else balanced
    if down == "auto":
        down = floor(up * desirable / undesirable * 1e4) / 1e4
    if max(up, down) > MAX_WEIGHT:
        raise BadInput(
            f"The training file has {desirable} desirable and {undesirable} undesirable rows; to balance them a label "
            f"would need a weight above {MAX_WEIGHT}. Add rows of the rarer label, or leave out some of the other.",
            param="training_file", code="labels_out_of_balance",
        )  # fmt: skip
    return up, down

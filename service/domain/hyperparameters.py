"""How `auto` becomes a number: the settings of a training run, from its kind, its rows and the base model.

Owns every default of training and its reason. Knows no job and no trainer.
"""

from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Any

from service.contract.jobs import (
    MAX_WEIGHT,
    Chosen,
    ChosenCode,
    DpoHyperparameters,
    Hyperparameters,
    KtoHyperparameters,
    TrainingKind,
    TrainingSettings,
)
from service.errors import BadInput

BASE_RATE: dict[str, float] = {"sft": 2e-3, "dpo": 5e-5, "kto": 2.5e-4}
"""Learning rates of LoRA at a multiplier of 1, for a model of `WIDTH`. At a width of 4096 they are 4.3e-4, 1.1e-5 and
5.4e-5: of preferences, ten times what TRL (DPO, 1e-6) and the KTO paper (5e-6) take for full tuning of such models."""
RATE_BECAUSE: dict[str, ChosenCode] = {"sft": "rate_sft", "dpo": "rate_dpo", "kto": "rate_kto"}
WIDTH = 576
NARROWER = 0.781
"""A wider model wants a lower rate: in proportion to its width to this power (Thinking Machines, "LoRA
without regret", 2025, fitted on Llama models)."""
UNKNOWN_WIDTH = 4096
RANK, ALPHA = 16, 32
"""Of an adapter that goes on from the base model. Alpha stays whatever the rank: the rate then fits every rank ("LoRA
without regret")."""
HIGH_RANK = 64
"""From here on the adapter is scaled by the root of its rank."""
ENOUGH_HELD_OUT = 10
"""Held-out rows whose loss may decide which pass is kept."""
REPLAY = 0.25
"""Replayed rows for each training row, in later rounds."""
EPOCHS: dict[str, list[tuple[float, int]]] = {
    "sft": [(100, 5), (1000, 3), (5000, 2), (inf, 1)],
    "dpo": [(50, 3), (inf, 2)],
    "kto": [(50, 3), (inf, 2)],
}
"""Passes over the rows: `(below so many rows, passes)`."""

BECAUSE: dict[ChosenCode, str] = {
    "few_rows": "{rows} rows: fewer rows are seen more often.",
    "few_passes": "Few passes: pushed hard, a preference makes good answers less likely too.",
    "batch_kto": "Its KL estimate is a mean over the rows of a step.",
    "batch_divided": "{processes} processes train together, and divide each batch evenly.",
    "batch_lora": 'LoRA learns best in small batches (Thinking Machines, "LoRA without regret").',
    "rate_sft": 'For a model of this width {rate:.3g}, near what "LoRA without regret" fitted; wider models want less.',
    "rate_dpo": "For a model of this width {rate:.3g}: TRL's 1e-6 for full tuning, ten times as much for LoRA; wider "
    "models want less.",
    "rate_kto": "For a model of this width {rate:.3g}: the KTO paper's 5e-6 for full tuning (arXiv 2402.01306), ten "
    "times as much for LoRA; wider models want less.",
    "none_held_out": "Off: no rows are held out.",
    "passes_sft": "Off: after SFT, later passes answer better though their held-out loss rises (InstructGPT, LIMA).",
    "few_held_out": "Off: {held_out} held-out rows are too few to tell better from worse.",
    "passes_preferences": "Preferences are soon pushed too far (arXiv 2406.02900): the pass that does best on held-out "
    "rows is kept.",
    "rank_low": "Off: it helps at high ranks (arXiv 2312.03732), and the rank is {rank}.",
    "rank_high": "The rank is {rank}: at high ranks LoRA learns better so (arXiv 2312.03732).",
    "rank_usual": 'Enough for thousands of rows ("LoRA without regret"); the engine serves up to {most}.',
    "row_usual": "Longer conversations take more memory; the engine reads up to {most}.",
    "as_start": "As the adapter that the job goes on from.",
    "loss_sigmoid": "The DPO paper's. Where longer answers win whatever they say, take sigmoid_norm; where some pairs "
    "are the wrong way round, robust.",
    "beta_norm": "Tulu 3's for rewards a token (arXiv 2411.15124).",
    "beta_dpo": "The DPO paper's and TRL's.",
    "beta_kto": "The KTO paper's and TRL's.",
    "smoothing_robust": "One pair in ten is taken to be the wrong way round, as in the paper of this loss (arXiv "
    "2403.00409).",
    "smoothing_none": "None: only the loss_type robust has one.",
    "sft_weight": "Keeps the better answer's own probability from falling (RPO, arXiv 2404.19733; "
    "huggingface/trl#2382).",
    "replay_later": "Later rounds stack up. General questions with the base model's own answers keep it from "
    "forgetting (arXiv 2605.26097): one for {every} rows.",
    "replay_first": "Off: a first round from the base model; what it forgets is measured all the same.",
    "same_weight": "Both labels weigh the same (arXiv 2402.01306, equation 8).",
}
"""Why a number is what it is, in English."""


@dataclass(frozen=True)
class Bounds:
    """What the base model and its engine set."""

    max_rank: int
    """Highest rank that the engine serves."""
    longest: int
    """Tokens that it reads, the one that it answers with not counted."""
    usual: int
    """Tokens of the longest row where none are asked for."""
    width: int | None
    """The base model's hidden size."""
    processes: int = 1
    """That train one job together, and divide each of its batches evenly."""


@dataclass(frozen=True)
class Run:
    """What the choice of a number depends on, beside what was asked for."""

    kind: TrainingKind
    rows: int
    held_out: int
    bounds: Bounds
    start: TrainingSettings | None = None
    """Of the adapter that the job goes on from."""


def resolve(run: Run, given: Hyperparameters, *, seed: int) -> tuple[TrainingSettings, dict[str, Chosen]]:
    """Every number of a training run, and of each that was `auto` its reason, by the hyperparameter's name.

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
    chosen = _Choices(given.model_dump())
    sft = run.kind == "sft"
    passes = chosen.take(
        "n_epochs", next(n for limit, n in EPOCHS[run.kind] if run.rows < limit),
        "few_rows" if sft else "few_passes", rows=run.rows,
    )  # fmt: skip
    usual, together = 8 if run.kind == "kto" or (sft and run.rows >= 2000) else 4, run.bounds.processes
    if usual % together:
        least = together * 2 if run.kind == "kto" and together % 2 else together  # KTO wants an even number
        batch = chosen.take("batch_size", least * ceil(usual / least), "batch_divided", processes=together)
    else:
        batch = chosen.take("batch_size", usual, "batch_kto" if run.kind == "kto" else "batch_lora")
    rank = _rank(run, given, chosen)
    scaled = _rank_stabilised(run, given, rank, chosen)
    rate = BASE_RATE[run.kind] * min(1.0, (WIDTH / (run.bounds.width or UNKNOWN_WIDTH)) ** NARROWER)
    rate /= rank**0.5 if scaled else 1
    multiplier = chosen.take("learning_rate_multiplier", 1.0, RATE_BECAUSE[run.kind], rate=rate)
    settings = TrainingSettings(
        n_epochs=passes, batch_size=batch, learning_rate=float(f"{rate * multiplier:.3g}"), lora_rank=rank,
        lora_alpha=run.start.lora_alpha if run.start else ALPHA, use_rslora=scaled, seed=seed,
        early_stopping_patience=_patience(run, chosen), max_length=_longest(run, chosen), replay=_replay(run, chosen),
    )  # fmt: skip
    if isinstance(given, DpoHyperparameters):
        _preference_loss(settings, chosen)
    elif run.kind == "kto":
        settings.beta = chosen.take("beta", 0.1, "beta_kto")
    return settings, chosen.reasons


def because(code: ChosenCode, **values: str | int | float) -> Chosen:
    """A reason, said and by its code."""
    return Chosen(because=BECAUSE[code].format(**values), code=code, values=values)


class _Choices:
    """What was asked for; what was not, with its reason."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self.reasons: dict[str, Chosen] = {}

    def take(self, name: str, auto: Any, code: ChosenCode, **values: str | int | float) -> Any:
        if self._given[name] != "auto":
            return self._given[name]
        self.reasons[name] = because(code, **values)
        return auto


def _patience(run: Run, chosen: _Choices) -> int:
    """Early stopping is a choice at other houses (Together, Fireworks). Held-out loss is a poor judge of answers after
    SFT: InstructGPT's rose after one pass of sixteen while people preferred the later ones (arXiv 2203.02155), and
    LIMA's went against quality (arXiv 2305.11206). Preferences are pushed too far within a pass or two (arXiv
    2406.02900).
    """
    code: ChosenCode = "passes_preferences"
    if not run.held_out:
        code = "none_held_out"
    elif run.kind == "sft":
        code = "passes_sft"
    elif run.held_out < ENOUGH_HELD_OUT:
        code = "few_held_out"
    auto = 1 if code == "passes_preferences" else 0
    return chosen.take("early_stopping_patience", auto, code, held_out=run.held_out)


def _replay(run: Run, chosen: _Choices) -> float:
    """In later rounds, where what is forgotten adds up. On 20 rows of the sample, from the base model, a quarter left a
    fifth of the distance from the base model that training without it made (0.59 and 2.98 nats), and the facts were
    learnt as well: where a first round matters for more than its own field, ask for it there too.
    """
    if run.start is None:
        return chosen.take("replay", 0.0, "replay_first")
    return chosen.take("replay", REPLAY, "replay_later", every=round(1 / REPLAY))


def _rank(run: Run, given: Hyperparameters, chosen: _Choices) -> int:
    most = run.bounds.max_rank
    if run.start is None:
        rank = chosen.take("lora_rank", min(RANK, most), "rank_usual", most=most)
        if rank > most:
            raise BadInput(
                f"The engine serves adapters up to rank {most} (TAILORBIRD_MAX_LORA_RANK). Lower lora_rank, or leave "
                "it out.",
                param="lora_rank", code="rank_not_served",
            )  # fmt: skip
        return rank
    if given.lora_rank not in ("auto", run.start.lora_rank):
        raise BadInput(
            f"The adapter to go on from has rank {run.start.lora_rank}, and keeps it. Leave lora_rank out, or start "
            "from the base model.",
            param="lora_rank",
        )  # fmt: skip
    return chosen.take("lora_rank", run.start.lora_rank, "as_start")


def _longest(run: Run, chosen: _Choices) -> int:
    most = run.bounds.longest
    tokens = chosen.take("max_length", min(run.bounds.usual, most), "row_usual", most=most)
    if tokens > most:
        raise BadInput(
            f"The engine reads {most} tokens at most (TAILORBIRD_MAX_MODEL_LEN). Lower max_length, or leave it out.",
            param="max_length", code="row_not_served",
        )  # fmt: skip
    return tokens


def _rank_stabilised(run: Run, given: Hyperparameters, rank: int, chosen: _Choices) -> bool:
    if run.start is None:
        high = rank >= HIGH_RANK
        return chosen.take("use_rslora", high, "rank_high" if high else "rank_low", rank=rank)
    start = run.start.use_rslora
    if given.use_rslora not in ("auto", start):
        raise BadInput(
            f"The adapter to go on from is {'' if start else 'not '}scaled by the root of its rank. Leave "
            "use_rslora out, or start from the base model.",
            param="use_rslora",
        )  # fmt: skip
    return chosen.take("use_rslora", start, "as_start")


def _preference_loss(settings: TrainingSettings, chosen: _Choices) -> None:
    """The loss of DPO, in place. Raises `BadInput` for settings that do not go together."""
    settings.loss_type = chosen.take("loss_type", "sigmoid", "loss_sigmoid")
    normalised, robust = settings.loss_type == "sigmoid_norm", settings.loss_type == "robust"
    settings.beta = chosen.take("beta", 5.0 if normalised else 0.1, "beta_norm" if normalised else "beta_dpo")
    if not normalised and settings.beta > 2:
        raise BadInput(
            "A beta above 2 is for the loss_type sigmoid_norm, whose rewards are means over tokens. Lower it.",
            param="beta",
        )  # fmt: skip
    settings.label_smoothing = chosen.take(
        "label_smoothing", 0.1 if robust else 0.0, "smoothing_robust" if robust else "smoothing_none"
    )
    if settings.label_smoothing and not robust:
        raise BadInput(
            "'label_smoothing' is for the loss_type robust. Leave it out, or choose that loss.",
            param="label_smoothing",
        )  # fmt: skip
    settings.sft_weight = chosen.take("sft_weight", 0.2, "sft_weight")


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

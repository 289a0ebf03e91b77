"""One execution of `sft`, `dpo`, `kto` or `evaluation`: OpenAI's job on the wire, and the run folder's spec.

Owns the shapes of `job.json`, of a progress line, of `report.json` and of `error.json`, and the
bounds of every hyperparameter. Knows no queue and no trainer.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from service.contract.base import Strict, Wire, example
from service.contract.datasets import SplitBy
from service.contract.replay import Forgetting, Replayed
from service.contract.sampling import check_metadata

TrainingKind = Literal["sft", "dpo", "kto"]
JobKind = Literal["sft", "dpo", "kto", "import", "evaluation"]
"""`import`: an adapter that was trained elsewhere is proved."""
JobStatus = Literal[
    "validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"
]
ENDED = ("succeeded", "failed", "cancelled")

Auto = Literal["auto"]
MIN_REASON = 10
"""Characters that say why somebody trains on feedback that a finding holds back."""
MAX_WEIGHT = 100
"""Of a label in KTO: beyond it, single rows would be the whole lesson."""


Suffix = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
"""What a tuned model's id says of it."""


class Hyperparameters(Strict):
    """What a caller may set; `auto` is resolved before the job starts and shown resolved."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"
    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"
    """DPO and KTO only: how strongly the tuned model is held to its reference."""
    early_stopping_patience: Auto | Annotated[int, Field(ge=0, le=50)] = "auto"
    """Ours: passes in a row without a lower held-out loss that end training, the best pass kept. 0: all are made."""
    use_rslora: Auto | bool = "auto"
    """Ours: whether the adapter is scaled by the root of its rank (arXiv 2312.03732)."""
    replay: Auto | Annotated[float, Field(ge=0, le=1)] = "auto"
    """Ours: general questions, answered by the base model, that are read for each training row. 0: none."""
    lora_rank: Auto | Annotated[int, Field(ge=1, le=512)] = "auto"
    """Ours: the adapter's, at most what the engine serves; of one that is gone on from, its own."""
    max_length: Auto | Annotated[int, Field(ge=16, le=131_072)] = "auto"
    """Ours: tokens of the longest row, prompt and answers together, at most what the engine reads. None is ever cut."""


class MethodSettings(Strict):
    hyperparameters: Hyperparameters = Hyperparameters()


LossType = Literal["sigmoid", "sigmoid_norm", "robust"]


class DpoHyperparameters(Hyperparameters):
    """Beyond OpenAI's: which loss, in TRL's words, and the supervised term beside it."""

    beta: Auto | Annotated[float, Field(gt=0, le=10)] = "auto"
    loss_type: Auto | LossType = "auto"
    """`sigmoid`; `sigmoid_norm`, of rewards a token (length-normalised); `robust` against pairs the wrong way round."""
    label_smoothing: Auto | Annotated[float, Field(gt=0, lt=0.5)] = "auto"
    """The share of pairs that are the wrong way round, for `robust` alone."""
    sft_weight: Auto | Annotated[float, Field(ge=0, le=10)] = "auto"
    """The weight of a supervised term on the preferred answer, beside the preference's 1."""


class DpoSettings(Strict):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class KtoHyperparameters(Hyperparameters):
    """KTO's own. `auto` has both labels weigh the same, however many rows carry each."""

    batch_size: Auto | Annotated[int, Field(ge=2, le=256, multiple_of=2)] = "auto"
    """Even, so that a forward pass can hold more than one row: KTO's KL estimate is a mean over its rows."""
    desirable_weight: Auto | Annotated[float, Field(ge=0.01, le=MAX_WEIGHT)] = "auto"
    """What a row with `"label": true` counts in the loss."""
    undesirable_weight: Auto | Annotated[float, Field(ge=0.01, le=MAX_WEIGHT)] = "auto"


class KtoSettings(Strict):
    hyperparameters: KtoHyperparameters = KtoHyperparameters()


class Method(Strict):
    type: Literal["supervised", "dpo", "kto"]
    supervised: MethodSettings | None = None
    dpo: DpoSettings | None = None
    kto: KtoSettings | None = None
    """Not OpenAI's: learns from rated completions, as the SDK passes it on."""


class JobCreate(Strict):
    """`POST /v1/fine_tuning/jobs`."""

    model_config = example(model="smollm2-135m-instruct", training_file="file-1f0c", suffix="harbour")

    model: str = Field(min_length=1, max_length=200)
    training_file: str
    validation_file: str | None = None
    suffix: Suffix | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: dict[str, str] | None = None
    """The key `assistant` names the assistant that the tuned model is offered to."""
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: list[dict[str, Any]] | None = None

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        return check_metadata(metadata)


class JobError(Wire):
    code: str
    message: str
    param: str | None = None


class Job(Wire):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None = None
    model: str
    fine_tuned_model: str | None = None
    organization_id: str = "tailorbird"
    status: JobStatus
    training_file: str
    validation_file: str | None = None
    result_files: list[str] = []
    """Of a training that has published: a CSV file with the figures of its steps."""
    trained_tokens: int | None = None
    error: JobError | None = None
    hyperparameters: dict[str, Any] = {}
    hyperparameter_reasons: dict[str, str] = {}
    """Ours: why each hyperparameter that was left to the service is what it is."""
    start_adapter: str | None = None
    """Ours: digest of the adapter that training goes on from; none: the base model."""
    method: dict[str, Any] | None = None
    seed: int
    estimated_finish: int | None = None
    integrations: list[dict[str, Any]] = []
    metadata: dict[str, str] | None = None


EventCode = Literal[
    "waiting", "cancelled", "cancelled_early", "cancel_asked", "paused", "paused_early", "paused_after", "pause_asked",
    "resumed", "resumed_early", "interrupted_goes_on", "interrupted_restarts", "lost_paused", "lost_goes_on",
    "lost_restarts", "lost_given_up", "killed_goes_on", "killed_restarts", "killed_given_up",
    "reading_sft", "reading_dpo", "reading_kto",
    "facts_sft", "facts_dpo", "facts_kto", "labels", "held_out", "set_aside", "unfit", "unmatched",
    "loading_base", "loading_adapter",
    "reference_base", "reference_adapter", "training", "training_together", "going_on", "trained", "asking_adapter",
    "checkpoint", "checkpoint_refused", "checkpoint_same", "engine_awaited", "brought", "seen_to_serve", "candidate",
    "done",
    "chosen", "kept_last_alone", "kept_last_best", "kept_last_off", "kept_best", "kept_best_ended",
    "replaying", "forgetting", "prompts_same", "prompts_unchecked",
    "evaluation_waiting", "evaluation_read", "evaluation_known", "evaluation_asking", "evaluation_scoring",
    "evaluation_drawing", "evaluation_pass", "evaluation_hold", "round_finding", "round_override",
    "failed",
]  # fmt: skip
"""What a message of a job says, for who says it in another language; what has none is said as it is."""
Values = Mapping[str, str | int | float]
"""The figures and names in such a message."""


ChosenCode = Literal[
    "few_rows", "few_passes", "batch_kto", "batch_lora", "batch_divided", "rate_sft", "rate_dpo", "rate_kto",
    "none_held_out", "passes_sft", "few_held_out", "passes_preferences", "rank_low", "as_start", "loss_sigmoid",
    "beta_norm", "beta_dpo", "beta_kto", "smoothing_robust", "smoothing_none", "sft_weight", "same_weight",
    "replay_later", "replay_first", "rank_usual", "rank_high", "row_usual",
]  # fmt: skip


class Chosen(Strict):
    """Why a hyperparameter that was left to the service is what it is, and the same by a code with its values."""

    because: str
    code: ChosenCode
    values: Values = {}


class JobEvent(Wire):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] = {}
    """A step's figures; of a message its `code`, where it has one, with its values."""


class Checkpoint(Wire):
    """The adapter of a finished pass, or the one that the job published: each can be asked."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, Any]


class RoundCreate(Strict):
    """`POST /api/rounds`: freeze the feedback on an assistant and train on it, in one call."""

    model_config = example(
        assistant="fanal", method="sft", hyperparameters={"n_epochs": 2},
        override_reason="a first trial of the round",
    )  # fmt: skip

    assistant: str
    method: Literal["dpo", "sft", "kto"] = "dpo"
    split_by: SplitBy = "conversation"
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    """The same as in `hyperparameters`, which goes before it."""
    hyperparameters: dict[str, bool | int | float | str] = {}
    """Those of the method, as a job on a file takes them; what is left out is chosen by the service."""
    override_reason: str | None = Field(default=None, min_length=MIN_REASON, max_length=500)
    """Why to train though a finding holds the round; kept with the job, with the name of who gave it."""


# The run folder --------------------------------------------------------------------------------


class TrainingSettings(Strict):
    """Every number of a training run, resolved: nothing is `auto` here."""

    n_epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    lora_rank: int = 16
    lora_alpha: int | float = 32
    use_rslora: bool = False
    max_length: int = 1024
    """Tokens of prompt and completion together; a longer row is refused, never cut silently."""
    warmup_share: float = 0.05
    beta: float = 0.1
    loss_type: LossType = "sigmoid"
    label_smoothing: float = 0.0
    sft_weight: float = 0.2
    """The loss of DPO: its kind, the share of pairs taken to be the wrong way round, its supervised term."""
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    """The weights of the two labels, for KTO."""
    early_stopping_patience: int = 0
    """Passes in a row without a lower held-out loss that end training; the best pass is kept. 0: all are made."""
    replay: float = Field(default=0.0, ge=0, le=1)
    """Replayed rows read for each training row: the tuned model is held to the base model's own answers on them."""
    seed: int = 0


class TrainingSpec(Strict):
    """`job.json` of a training run."""

    kind: TrainingKind
    id: str
    base_model: str
    """Folder of the base checkpoint."""
    base_name: str
    """The base model's public name, for the manifest."""
    start_adapter: str | None = None
    """Folder of the adapter to go on from; for DPO and KTO it is the reference as well."""
    start_digest: str | None = None
    train_sha256: str
    """Of `train.jsonl`, checked before the first step."""
    cases_sha256: str | None = None
    """Of `cases.jsonl`, the held-out questions of the assistant: no row may ask one of them. None: it has none."""
    learned: list[str] = []
    """SHA-256 of the files that the adapter to go on from was trained on, and those before it: they lie beside it by
    number (`folder.LEARNED`). Named where rows are held out, of which what was learned before tells nothing."""
    settings: TrainingSettings
    threads: int | None = None
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints at least: what an end without warning may cost."""


class Progress(Strict):
    """One line of `progress.jsonl`; `message` lines speak to people, the others are a step's figures."""

    at: float
    level: Literal["info", "warn", "error"] = "info"
    message: str | None = None
    code: EventCode | None = None
    values: Values | None = None
    step: int | None = None
    total_steps: int | None = None
    tokens: int | None = None
    """Tokens seen since the start, padding not counted."""
    seconds_left: float | None = None
    metrics: dict[str, float] = {}
    """`train_loss`, `valid_loss`, `train_mean_token_accuracy`, `reward_accuracy`, `reward_margin`, ..."""


class Manifest(Strict):
    """What an adapter is: written beside its weights, part of its digest, never changed."""

    format: Literal[1] = 1
    kind: TrainingKind | Literal["import"]
    """`import`: trained elsewhere, so that what None stands for is not known."""
    base_model: str
    base_sha256: str
    """Of the base checkpoint's `config.json` and weight file names and sizes."""
    template_sha256: str
    """Of the chat template, the end-of-sequence token and the stop tokens."""
    train_sha256: str | None
    parent: str | None
    """Digest of the adapter that training started from."""
    job: str | None
    step: int | None = None
    """Of a checkpoint: the step after which it was taken while its job went on. None: what the job ended with."""
    settings: TrainingSettings | None
    processes: int = 1
    """That trained it together, each a share of every batch."""
    replay_rows: int = 0
    replay_sha256: str | None = None
    """General questions that the base model answered and that were replayed, and the file that holds them."""
    cases: int = 0
    cases_sha256: str | None = None
    """Held-out questions, none of which its rows may ask, and the SHA-256 of the file that lists them; none where there
    were none, or where that was not written down yet."""
    versions: dict[str, str]
    created_at: int | None
    note: str | None = None


class Usage(Strict):
    """What a run took of the machine: later estimates rest on it."""

    machine: str
    """Which one, by `fingerprint.machine`."""
    peak_bytes: int | None
    """Resident memory of the process at its peak, the proof included; of one that was interrupted, since its last
    start; of several that trained together, of the first."""
    expected_bytes: int | None
    """What an estimate's formula says for this very run."""
    step_seconds: float
    """From the first step to the last, what is measured in between included; the rest of `seconds` is the start."""
    tokens_per_second: float
    """Tokens of its own rows, while it made steps."""


class TrainingReport(Strict):
    """`report.json` of a training run: written last."""

    adapter: str = "adapter"
    steps: int
    epochs: float
    rows: int
    held_out: int
    trained_tokens: int
    seconds: float
    metrics: dict[str, float]
    """`train_loss`, `valid_loss`; for DPO and KTO also `reward_accuracy` and `reward_margin` on held-out rows."""
    kept_step: int | None = None
    """The step after which the adapter was as it is kept."""
    kept_because: str = ""
    usage: Usage | None = None
    replay: Replayed | None = None
    forgetting: Forgetting | None = None
    """All three: none of an adapter that was trained elsewhere, or before this was measured."""


class ProofCase(Strict):
    """One line of `proof.jsonl`: what the trainer saw, for the engine to be held against.

    Log-probabilities are natural logarithms, one for each completion token, computed from the saved
    files read back from disk.
    """

    messages: list[dict[str, Any]]
    prompt_tokens: list[int]
    completion_tokens: list[int]
    adapter_logprobs: list[float]
    base_logprobs: list[float]


class RunError(Strict):
    """`error.json`: a refusal in plain words."""

    code: str
    message: str
    param: str | None = None

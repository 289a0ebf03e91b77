"""Before a job: what it would learn, what is wrong with its rows, and what it may take.

Owns the shape of `estimate.json`, which `python -m training --check --quick` writes (`Look`), and of the answer of
`POST /api/estimates`, made of it and of what the service knows. Knows no tokenizer and no database.
"""

from typing import Any, Literal

from pydantic import Field

from service.contract.base import Strict
from service.contract.jobs import Chosen, TrainingKind
from service.contract.rendering import Rendering


class ShownToken(Strict):
    text: str
    """The token read back alone: a character that takes several tokens shows as a replacement character in each."""
    loss: bool
    """Whether the model learns to say it (of a worse answer: less often)."""
    end: bool = False
    """The engine stops at it: the end of an answer."""


class ShownSequence(Strict):
    says: Literal["example", "preferred", "non_preferred", "desirable", "undesirable"]
    tokens: list[ShownToken]
    omitted: int
    """Tokens left out in the middle of a long sequence."""


class ShownRow(Strict):
    """One row as the trainer is given it."""

    row: str
    """Where it stands, such as `train.jsonl line 12`."""
    sequences: list[ShownSequence]


class Finding(Strict):
    """A fault by its name, and the first row that has it: the job would be refused for it."""

    code: str
    message: str
    row: str | None = None
    """Or the file, or what of the job, as `start_adapter`."""
    rows: int = 1
    """How many of the rows that were looked at have a fault of this name; of one of a whole file, the first alone."""


class Shape(Strict):
    """Of the adapter, from the heads of the checkpoint's weight files."""

    modules: dict[str, int]
    """Linear layers that get two matrices each, counted by the last part of their names, as `q_proj`."""
    parameters: int
    """The sum over the modules of rank x (inputs + outputs): numbers that are trained."""
    base_parameters: int


class Look(Strict):
    """`estimate.json`: what can be seen of a run without weights and without a step."""

    kind: TrainingKind
    rows: int
    """Of the training file; reckoned from its bytes where `sampled`."""
    rows_looked_at: int
    """As many were turned into tokens, evenly spread over the file."""
    sampled: bool
    """The file is larger than is read whole: what stands only between the rows looked at was not seen."""
    tokens: int
    """Of one pass over the rows; scaled up where not every row was looked at."""
    tokens_with_loss: int
    longest: int
    """Tokens of the longest row that was looked at."""
    max_length: int
    too_long: int
    """Rows looked at that are longer than `max_length`. They are refused, and the job with them."""
    unfit: int = 0
    """Rows of feedback, of those looked at, that are left out: too long, or with what ends an answer inside."""
    set_aside: int = 0
    """Held-out rows that ask what training asks, in the same words or nearly: they are not measured on."""
    without_instructions: int = 0
    """Rows looked at that bring no message of role `system`."""
    truncated: Literal[0] = 0
    """No row is ever cut."""
    steps: int
    """If all passes are made."""
    replay_rows: int = 0
    replay_reads: int = 0
    """General questions, written for Tailorbird and answered by the base model, that the job replays beside its own
    rows, and how often one of them is read."""
    end_learned: bool
    """In every row looked at, each answer that is learned ends with a token that the engine stops at, with loss."""
    trained_as_served: bool
    """In every row looked at, the tokens of the prompt are those that the engine is asked with."""
    template_sha256: str
    base_sha256: str
    """Both as an adapter's manifest names them."""
    findings: list[Finding]
    not_looked_at: list[str]
    """Faults, by name, that this look cannot see: the job itself looks for them before its first step."""
    shown: list[ShownRow]
    rank: int
    """Of the adapter."""
    shape: Shape | None
    """None where the checkpoint's weights are not safetensors."""
    memory_bytes: int | None
    """At the peak on a processor, by a formula that may be wrong by half."""


class Range(Strict):
    low: float | None = None
    high: float | None = None
    """No promise: what it takes should lie between, and may not."""
    basis: Literal["earlier_jobs", "formula", "none"]
    jobs: int = 0
    """Earlier jobs on this machine that it rests on."""
    confidence: Literal["high", "medium", "low", "guess", "none"]
    """`high` from 8 such jobs on, `medium` from 3, `low` with fewer; `guess` for a formula."""
    because: str


class Servable(Strict):
    """Whether the engine takes such an adapter, by its settings; that it serves it is proved after training."""

    rank: bool
    max_rank: int
    modules: bool | None
    """None where the modules are not known."""
    not_served: list[str] = []


class Estimate(Strict):
    """`POST /api/estimates`, and of a round `POST /api/estimates/round`. Nothing was made, queued or reserved."""

    object: Literal["fine_tuning.estimate"] = "fine_tuning.estimate"
    model: str
    method: Literal["supervised", "dpo", "kto"]
    hyperparameters: dict[str, Any]
    chosen: dict[str, Chosen]
    """Why each hyperparameter that was left to the service is what it is."""
    seed: int
    held_out: int
    look: Look
    servable: Servable
    rendering: Rendering
    """Whether the engine makes the same tokens of the prompts of a few rows. One that cannot be asked now stands in
    nobody's way; a difference is among the findings."""
    seconds: Range
    """From the start of the process to its last step; waiting for its turn and proving the adapter come on top."""
    memory_bytes: Range
    without_instructions: int = 0
    """Rows looked at that bring no instructions, of a job for an assistant whose own go before every question: it would
    be trained on other prompts than it is served. Nothing is refused for it."""
    one_person: float | None = None
    """Share of the training file's preferences or ratings that one person stands behind, where its data sheet tells and
    it is nearly all. Nothing is refused for it."""
    held: str | None = None
    """Why a start is refused for what its feedback would teach, where no `override_reason` answers for it."""
    ready: bool = Field(
        description="No fault was found, and nothing holds the start. It is no promise that the job succeeds."
    )
    notes: list[str]
    """What a reader must know of how far the figures reach."""

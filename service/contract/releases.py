"""Adapters, and their offers to an assistant."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example
from service.contract.evaluations import Gate
from service.contract.jobs import Manifest

ReleaseState = Literal["candidate", "staged", "live", "retired", "deleted"]
"""`staged`: on trial with some of the people. `deleted`: its tuned model was deleted, so it cannot go live again."""


class ServingProof(Strict):
    """What was seen when the running engine was asked for the adapter, before it was published."""

    cases: int
    tokens: int
    same_prompt_tokens: bool
    """The engine renders every prompt to the trainer's very tokens."""
    distance_to_trainer: float
    """Mean absolute difference of token log-probabilities, engine with adapter against trainer."""
    distance_to_base: float
    """The same, engine with adapter against engine without."""
    noise: float
    """The same, engine against trainer, both without the adapter: what the two differ by anyway."""
    tolerance: float
    outputs_changed: int
    """Greedy answers, of `cases`, that differ from the base model's."""
    engine: str


class Adapter(Strict):
    digest: str
    model: str
    """The tuned model's id, `ft:...`."""
    manifest: Manifest
    proof: ServingProof
    bytes: int
    created_at: int


class Release(Strict):
    id: str
    assistant: str
    number: int
    adapter: str
    model: str
    job: str | None
    state: ReleaseState
    gate: Gate | None
    evaluation: str | None
    created_at: int
    promoted_at: int | None
    promoted_by: str | None
    override_reason: str | None


class Promotion(Strict):
    """A hold, or a release never evaluated, needs a reason from whoever promotes it."""

    model_config = example(override_reason="chosen by the harbour master")

    override_reason: str | None = Field(default=None, min_length=10, max_length=2000)


class Staging(Strict):
    """Put a release on trial with some of the people; with share 0 the trial ends."""

    model_config = example(share=10, override_reason="a trial on the quay first")

    share: int = Field(ge=0, le=99, description="of every hundred people; 100 is a promotion")
    override_reason: str | None = Field(default=None, min_length=10, max_length=2000)


class Reception(Strict):
    """What people thought of one release's answers since the trial began."""

    release: int | None
    """None: the base model."""
    answers: int
    people: int
    up: int
    down: int
    corrected: int


class Trial(Strict):
    """A release on trial beside the live one."""

    assistant: str
    release: int
    share: int
    since: int
    staged: Reception
    live: Reception


class Rollback(Strict):
    model_config = example(reason="it names the wrong pier")

    reason: str = Field(min_length=1, max_length=2000)
    release: str | None = Field(
        default=None, description="the one that you take to be live; no other is rolled back then"
    )

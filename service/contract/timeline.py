"""What happened to an assistant, moment by moment: feedback, trainings, releases, evaluations, moves, changes."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict
from service.contract.jobs import JobStatus

What = Literal[
    "feedback", "training", "release", "evaluation", "promotion", "rollback", "staging", "created", "changed",
]  # fmt: skip
"""`feedback`: all of one day (UTC), at the moment of the last. `training`, `evaluation`: at their start, as they stand
now. `release`: it became a candidate. `staging`: a trial with some of the people; with share 0 it ended."""


class Given(Strict):
    """The feedback of one day."""

    up: int
    down: int
    corrections: int
    preferences: int
    people: int


class Moment(Strict):
    id: str
    at: float
    what: What
    by: str | None
    """The person's name; none for feedback, which is counted only, and for what the service does by itself."""
    release: int | None = None
    """The release that it is about; of a promotion or a rollback none for the base model."""
    from_release: int | None = None
    """Of a promotion or a rollback: what was live before; none for the base model."""
    share: int | None = None
    """Of a staging: of every hundred people, so many."""
    method: Literal["sft", "dpo", "kto", "import"] | None = None
    """Of a training; `import` is an adapter that was brought from elsewhere."""
    status: JobStatus | None = None
    """Of a training or an evaluation."""
    verdict: Literal["pass", "hold"] | None = None
    """Of an evaluation that has ended."""
    reason: str | None = None
    """What the person said when a finding or a gate stood against it, or when they rolled back."""
    feedback: Given | None = None
    fields: list[str] = Field(default=[])
    """Of a change of the assistant: what of it was changed."""

"""A duel: one question, two answers without names, and which of them a person chooses.

The sides are `a` and `b`. Who wrote them is told once the duel is over, and not before.
"""

from typing import Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, example
from service.contract.feedback import Reason

Pairing = Literal["releases", "base", "same"]
"""Two releases, a release and the base model, or one of them asked twice."""
Choice = Literal["a", "b", "tie", "both_bad"]
DuelStatus = Literal["writing", "ready", "failed", "decided", "revealed"]
"""`ready`: both answers are complete and may be chosen from. `revealed`: the names were asked for without a choice."""


class DuelCreate(Strict):
    """`POST /api/duels`. Whom it is between is drawn from what the assistant has, or within one pairing."""

    model_config = example(assistant="fanal", question="When does the ferry leave?")

    assistant: str = Field(min_length=1, max_length=80)
    question: str = Field(min_length=1, max_length=20_000, pattern=r"\S")
    pairing: Pairing | None = None


class Vote(Strict):
    model_config = example(choice="a", strength=2)

    choice: Choice
    strength: int | None = Field(default=None, ge=1, le=3)
    """How much better: slightly, clearly, far. Only with `a` or `b`."""
    reasons: list[Reason] = Field(default_factory=list, max_length=10)
    comment: str | None = Field(default=None, max_length=4000)

    @model_validator(mode="after")
    def _strength_of_a_winner(self) -> "Vote":
        if self.strength is not None and self.choice not in ("a", "b"):
            raise ValueError("'strength' says how much better one answer is; leave it out when neither is")
        return self


class Names(Strict):
    """Who wrote the two answers: numbers of releases, 0 for the base model."""

    pairing: Pairing
    a: int
    b: int
    a_completion_id: str
    b_completion_id: str


class Duel(Strict):
    id: str
    assistant: str
    question: str
    status: DuelStatus
    a: str | None
    """The first answer; none until both are complete."""
    b: str | None
    cut_off: list[Literal["a", "b"]] = []
    """Answers that ended at the longest that is allowed: no pair is learned from them."""
    choice: Choice | None
    strength: int | None
    reasons: list[str]
    comment: str | None
    names: Names | None
    """None until the duel is over."""
    feedback_id: str | None
    """The feedback of type `preference` that the choice became."""
    created_at: int

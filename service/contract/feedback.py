"""What a person thought of one completion: a rating, a correction or a preference.

Feedback is append-only: changing one's mind is a new event, taking it back is a retraction.
"""

from typing import Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, example

FeedbackType = Literal["rating", "correction", "preference", "retraction"]
Outcome = Literal["better", "tie", "both_bad"]
Reason = Literal[
    "wrong", "incomplete", "outdated", "off_topic", "too_long", "too_short", "tone", "unsafe",
    "language", "helpful", "accurate", "clear", "other",
]  # fmt: skip


class FeedbackCreate(Strict):
    """`POST /api/feedback`. An `Idempotency-Key` header makes a repeat harmless."""

    model_config = example(completion_id="chatcmpl-1f0c", type="correction", correction="It leaves at nine.")

    completion_id: str = Field(min_length=1, max_length=100)
    type: Literal["rating", "correction", "preference"]
    rating: Literal[1, -1] | None = None
    reasons: list[Reason] = Field(default_factory=list, max_length=10)
    comment: str | None = Field(default=None, max_length=4000)
    correction: str | None = Field(default=None, max_length=100_000)
    preferred_completion_id: str | None = Field(default=None, max_length=100)
    preference: Outcome | None = None
    """Of a preference: whether the preferred answer is `better` (also when left out), or the two are a `tie` or
    `both_bad`: then `preferred_completion_id` only names the other answer."""
    left_completion_id: str | None = Field(default=None, max_length=100)
    """Of a preference between two answers shown side by side: the one on the left. Without it no side is counted."""

    @model_validator(mode="after")
    def _says_what_its_type_promises(self) -> "FeedbackCreate":
        needed = {"rating": "rating", "correction": "correction", "preference": "preferred_completion_id"}
        if not (value := getattr(self, needed[self.type])) or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"feedback of type '{self.type}' needs '{needed[self.type]}'")
        for type_, field in needed.items():
            if type_ != self.type and getattr(self, field) is not None:
                raise ValueError(
                    f"'{field}' belongs to feedback of type '{type_}'; send it as a feedback of its own"
                )
        if self.type != "preference" and (self.preference or self.left_completion_id):
            raise ValueError("'preference' and 'left_completion_id' belong to feedback of type 'preference'")
        if self.left_completion_id not in (None, self.completion_id, self.preferred_completion_id):
            raise ValueError("'left_completion_id' is neither of the two answers that are compared")
        return self


class Feedback(Strict):
    id: str
    completion_id: str
    type: FeedbackType
    rating: int | None
    reasons: list[str]
    comment: str | None
    correction: str | None
    preferred_completion_id: str | None
    preference: Outcome | None = None
    left_completion_id: str | None = None
    person: str
    """Pseudonym of who said it."""
    supersedes: str | None
    """The earlier feedback that this one replaces or takes back."""
    created_at: int


class Preference(Strict):
    """What one person said of this completion beside another."""

    feedback_id: str
    preferred_completion_id: str
    preference: Outcome


class Standing(Strict):
    """What one person's feedback on one completion amounts to now, after changes and retractions."""

    rating: int | None = None
    rating_id: str | None = None
    reasons: list[str] = Field(default_factory=list)
    comment: str | None = None
    correction: str | None = None
    correction_id: str | None = None
    preferences: list[Preference] = Field(default_factory=list)

"""What one person's feedback changed: the release that learnt from it, and the answer then and now."""

from service.contract.base import Strict
from service.contract.feedback import FeedbackType


class Answered(Strict):
    """One answer to the person's question, by whom and when."""

    completion_id: str
    answer: str
    release: int | None
    created_at: int


class Learnt(Strict):
    """One feedback that a release learnt from."""

    feedback_id: str
    type: FeedbackType
    rating: int | None
    correction: str | None
    given_at: int
    assistant: str
    conversation_id: str | None
    """Where the question was asked, unless the person deleted it."""
    question: str
    then: Answered
    now: Answered | None
    """The newest answer that a release which learnt gave this person to the same question, if it was asked again."""
    release: int
    """The first release that learnt from it."""
    live: bool
    """Whether a release that learnt from it answers today."""


class LearntList(Strict):
    learnt: list[Learnt]
    """The newest feedback first."""
    waiting: int
    """How many of the person's own feedbacks no release has learnt from yet, and may."""

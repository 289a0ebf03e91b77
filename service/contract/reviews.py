"""A review: a reviewer's verdict that decides whether feedback becomes training material."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from service.contract.base import Strict, example

Verdict = Literal["approve", "reject", "correct", "skip"]
"""Learn from it; do not learn from it; learn this instead; somebody else should decide."""
Why = Literal["disagreement", "correction", "low_rated", "preference", "audit", "golden"]
"""Why an answer is shown. One that is `golden` is shown as an `audit`, and called by its name only afterwards."""
SkipReason = Literal["not_my_field", "unclear", "language", "other"]
Criterion = Literal["accurate", "complete", "clear", "polite"]
Mark = Literal["yes", "partly", "no"]
Outcome = Literal["approve", "reject", "correct", "disputed"]
LAST_VERDICTS = 1000
"""How alike people judge is told over so many verdicts that stand."""


About = Annotated[
    str | None, Field(max_length=60), AfterValidator(lambda text: " ".join((text or "").split()) or None)
]
"""A topic in a few words; an empty one is none."""


class ReviewCreate(Strict):
    """`POST /api/reviews`. An `Idempotency-Key` header makes a repeat harmless."""

    model_config = example(completion_id="chatcmpl-1f0c", verdict="approve")

    completion_id: str = Field(min_length=1, max_length=100)
    verdict: Verdict
    correction: str | None = Field(default=None, max_length=100_000)
    skip_reason: SkipReason | None = None
    rubric: dict[Criterion, Mark] = Field(default_factory=dict)
    comment: str | None = Field(default=None, max_length=4000)
    personal_data: bool = False
    """Whether question, answer or feedback names or describes a private person; then nothing is learnt from it, nor
    from the later answers of its conversation, which were given with it in view."""
    topic: About = None
    """What the answer is about; it holds for the other answers of its conversation too, until they are said to be about
    something else."""

    @model_validator(mode="after")
    def _says_what_its_verdict_promises(self) -> "ReviewCreate":
        if (self.verdict == "correct") != bool((self.correction or "").strip()):
            raise ValueError("'correction' belongs to the verdict 'correct', which needs it")
        if (self.verdict == "skip") != (self.skip_reason is not None):
            raise ValueError("'skip_reason' belongs to the verdict 'skip', which needs it")
        return self


class Opinion(Strict):
    """One person's verdict as the others see it once their own is in."""

    name: str
    verdict: Verdict
    correction: str | None
    comment: str | None
    personal_data: bool
    created_at: int


class Review(Strict):
    id: str
    completion_id: str
    assistant: str
    verdict: Verdict
    why: Why
    correction: str | None
    skip_reason: SkipReason | None
    rubric: dict[str, str]
    comment: str | None
    personal_data: bool
    topic: str | None = None
    expected: Verdict | None
    """The verdict that was agreed on beforehand, where there is one."""
    outcome: Outcome | None
    """What all verdicts on this answer amount to now."""
    others: list[Opinion]
    feedback_id: str | None
    undone: bool
    created_at: int


class Said(Strict):
    """One signal under review, in the words of who gave it, without their name."""

    type: Literal["rating", "correction", "preference"]
    rating: int | None
    reasons: list[str]
    comment: str | None
    correction: str | None
    preferred: str | None
    """The other answer of a preference, which was held to be better."""


class ReviewItem(Strict):
    """One answer to be judged, reserved for who asked for it."""

    completion_id: str
    assistant: str
    why: Why
    before: list[dict[str, str]]
    """The turns before the question, oldest first: `role` and `content`."""
    question: str
    answer: str
    release: int | None
    said: list[Said]
    topic: str | None = None
    """What it is about, as far as that is known."""
    topics: list[str] = []
    """The topics that its assistant has."""
    reserved_until: int


class ReviewQueue(Strict):
    """What waits for one person, and what they did."""

    item: ReviewItem | None
    waiting: int
    """Answers that this person could judge now, the one shown included; counted up to some hundreds."""
    more: bool
    """Whether even more wait than were counted."""
    own: int
    """Answers that wait for somebody else, because this person said something of them."""
    judged_this_week: int
    judged: int


class GoldenCreate(Strict):
    """An answer whose verdict is agreed on, shown to every reviewer among the others. It never trains."""

    model_config = example(expected="approve", note="as the harbour rules have it")

    expected: Literal["approve", "reject", "correct"]
    note: str | None = Field(default=None, max_length=4000)


class GoldenItem(Strict):
    completion_id: str
    assistant: str
    expected: Verdict
    note: str | None
    question: str
    judged: int
    as_expected: int
    created_at: int


class Topic(Strict):
    """How alike the verdicts on one topic are."""

    topic: str
    items: int
    """Answers that two people or more judged."""
    alpha: float | None


class Pair(Strict):
    """How alike two people judge."""

    names: list[str]
    items: int
    """Answers that both judged."""
    same: int
    kappa: float | None


class Reviewer(Strict):
    name: str
    judged: int
    golden: int
    """Answers judged whose verdict was agreed on beforehand."""
    as_expected: int


class Agreement(Strict):
    """Krippendorff's alpha over everybody and by topic, Cohen's kappa by pair. None: too little was judged twice."""

    items: int
    alpha: float | None
    topics: list[Topic]
    pairs: list[Pair]
    people: list[Reviewer]

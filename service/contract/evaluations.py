"""A measured comparison: cases in, scores and a gate out.

Owns the shapes of a held-out case, an answer, a score and the gate's verdict, and the run folder's
spec of an evaluation. Knows no metric's inside.
"""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, Wire, example
from service.contract.chat import Message
from service.contract.jobs import JobError

Contestant = Literal["candidate", "live", "base"]
GateCode = Literal[
    "no_rival", "learned", "unanswered", "too_few_cases", "worse_than_live", "maybe_worse_than_live", "worse_than_base",
    "not_better_than_base", "worse_in_language", "found", "better", "not_worse", "small_loss",
]  # fmt: skip
OutdatedCode = Literal["another_live", "other_questions"]
"""Why a pass is none any more."""


class Case(Wire):
    """One held-out question. Either `question`, or whole `messages` ending with the user's."""

    id: str | None = None
    question: str | None = None
    messages: list[Message] | None = None
    reference: str | None = None
    """A good answer, for chrF, ROUGE-L and exact match."""
    facts: list[str | list[str]] = []
    """What a right answer must hold; a list inside is a choice of wordings."""
    language: str = "en"
    topic: str = "general"

    @model_validator(mode="after")
    def _asks_and_knows(self) -> "Case":
        if (self.question is None) == (self.messages is None):
            raise ValueError("give either 'question' or 'messages'")
        if not self.facts and not (self.reference or "").strip():
            raise ValueError("a case needs 'facts' or a 'reference' to be scored against")
        return self

    def prompt(self) -> list[dict[str, Any]]:
        if self.messages is not None:
            return [message.model_dump(exclude_none=True) for message in self.messages]
        return [{"role": "user", "content": self.question}]

    def unfit(self) -> str | None:
        """Why nobody can be asked this, though it is a case: what a file is held to when it comes and when it is used.

        No part of the shape itself, or what was kept before it was asked for could not be read any more.
        """
        if self.messages is None:
            asked = (self.question or "").strip()
            return None if asked else "'question' is empty. Write what is to be asked."
        if not self.messages or self.messages[-1].role != "user":
            return "'messages' do not end with the user's question. Leave out what follows it."
        return None

    def name(self) -> str:
        """Its id, else one that depends on what it says and on nothing else, so that reports can be compared."""
        if self.id:
            return self.id
        said = self.model_dump(mode="json", exclude={"id"}, exclude_none=True)
        canonical = json.dumps(said, ensure_ascii=False, sort_keys=True)
        return "case-" + hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Judge(Strict):
    """Any OpenAI-compatible endpoint that judges answers. Its key comes by environment, never by file."""

    base_url: str
    model: str


class EvaluationSpec(Strict):
    """`job.json` of an evaluation. The API key is in the environment: TAILORBIRD_EVALUATION_KEY."""

    kind: Literal["evaluation"] = "evaluation"
    id: str
    gateway: str
    """Base URL of the gateway, without `/v1`."""
    assistant: str
    models: dict[Contestant, str]
    """What to ask for as `model`: `name@N` for a release, the base model's name for the base."""
    adapters: dict[Contestant, str] = {}
    """The digest of the adapter that has to answer for each, or `base`; an answer by another does not count."""
    cases_sha256: str
    learned: list[str] = []
    """SHA-256 of the files that the candidate was trained on, and those of what it went on from: they lie in the folder
    by number (`folder.LEARNED`)."""
    served_sha256: str | None = None
    """All that makes an answer but the adapter and the question, hashed: two evaluations with the same hash
    and the same adapter would get the same answers."""
    known: dict[Contestant, str] = {}
    """Whose answers lie in `known.jsonl`, and the evaluation that they were given to."""
    primary: str = "fact_recall"
    """The metric that the gate decides on; `chrf` when no case names facts."""
    margin: float = 0.03
    """How much worse than the live release a candidate may be before it is held (0 to 1)."""
    max_tokens: int = 256
    at_once: int = 8
    timeout: float = 120.0
    """Seconds for one answer."""
    judge: Judge | None = None
    seed: int = 0


FaultCode = Literal[
    "slow", "status", "unreached", "unread", "unnamed", "not_base", "only_base", "other", "changed", "broken"
]  # fmt: skip


class Fault(Strict):
    """Why an answer or a score does not count, for who says it in another language."""

    code: FaultCode
    values: dict[str, str | int] = {}


class Answer(Strict):
    """One line of `answers.jsonl`. A failed question has an `error` and scores worst on every metric."""

    case: str
    contestant: Contestant
    text: str
    finish_reason: str | None = None
    adapter: str | None = None
    """The response header `x-tailorbird-adapter`: what really answered."""
    error: str | None = None
    fault: Fault | None = None
    """The same by its code; none in answers from before there was any."""
    scores: dict[str, float] = {}
    """Metric name to score, 0 to 1, higher is better (`length_ratio` is reported, not gated)."""


class Score(Strict):
    """One metric of one contestant over all cases, with a 95 % interval."""

    metric: str
    contestant: Contestant
    mean: float
    low: float
    high: float
    cases: int
    """Always the number of planned cases: a failed one counts as the worst score."""
    failed: int
    slice: str = "all"
    """`all`, or `language:fr`, `topic:billing`."""


class Difference(Strict):
    """Candidate minus another contestant on the same cases: a paired difference with a 95 % interval."""

    metric: str
    against: Contestant
    mean: float
    low: float
    high: float
    cases: int
    slice: str = "all"


class Reason(Strict):
    """Why the gate says what it says, by a code with its figures: for who says it in another language."""

    code: GateCode | OutdatedCode
    values: dict[str, str | int | float] = {}
    """Scores and differences are shares, 0 to 1; `who` and `against` are contestants."""


class Change(Strict):
    """One question that the candidate answers clearly better or worse, with both answers, for people to read."""

    case: str
    question: str
    language: str
    topic: str
    against: Contestant
    """Who gave the answer before."""
    before: str | None
    """None: there was no valid answer. A long text is cut, and ends in "…"."""
    now: str | None
    score_before: float
    score_now: float
    """Both on the metric that decides."""


class Gate(Strict):
    verdict: Literal["pass", "hold"]
    reasons: list[str]
    """Full sentences with figures, the deciding one first."""
    coded: list[Reason] = []
    """The same by their codes; none in reports from before there were any."""


class EvaluationReport(Strict):
    """`report.json` of an evaluation: written last; `report.html` is the same for people."""

    cases: int
    languages: dict[str, int]
    contestants: dict[Contestant, str]
    primary: str
    scores: list[Score]
    differences: list[Difference]
    gate: Gate
    better: int = 0
    worse: int = 0
    """How many cases the candidate answers better and worse than the live release (or base). Reports made earlier have
    but the examples to be counted."""
    examples_better: list[str] = []
    """Ids of the first of them, the largest change first."""
    examples_worse: list[str] = []
    changes: list[Change] = []
    """The first few of both with their texts, the worst first, then the best. Reports made earlier have none."""
    words: dict[Contestant, int] = {}
    """Of each contestant's valid answers the median number of words. Reports made earlier have none."""
    judge: str | None = None
    taken_over: dict[Contestant, str] = {}
    """Contestants that were not asked again, and the evaluation that their answers are from."""
    seconds: float

    @model_validator(mode="after")
    def _counted(self) -> "EvaluationReport":
        self.better = self.better or len(self.examples_better)
        self.worse = self.worse or len(self.examples_worse)
        return self


class EvaluationCreate(Strict):
    """`POST /api/evaluations`."""

    model_config = example(release="rel_1f0c")

    release: str
    cases_file: str | None = Field(default=None, description="default: the assistant's own cases")


class Evaluation(Strict):
    id: str
    assistant: str
    release: str
    release_number: int
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    report: EvaluationReport | None
    error: str | None
    coded_error: JobError | None = None
    """The same with its code, for who says it in another language."""
    created_at: int
    finished_at: int | None

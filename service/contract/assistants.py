"""What people talk to: a base model, instructions, starters and a live release."""

from typing import Literal

from pydantic import Field

from service.contract.base import Strict, example
from service.contract.datasets import Kind
from service.contract.signal import Signal

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
Language = Literal["en", "fr"]


class Assistant(Strict):
    id: str
    name: str
    """The `model` of a chat request."""
    title: str
    description: str
    instructions: str
    starters: list[str]
    languages: list[Language]
    temperature: float
    max_tokens: int
    live_release: int | None
    """Number of the release that answers; none means the base model."""
    staged_release: int | None
    """Number of the release on trial, if any."""
    staged_share: int
    """Of every hundred people, so many are answered by the release on trial."""
    cases_file: str | None
    """The file of held-out questions that every candidate is measured on."""
    created_at: int


class AssistantCreate(Strict):
    model_config = example(name="harbour", title="Harbour desk", instructions="You answer in two sentences.")

    name: str = Field(pattern=NAME, description="lower-case letters, digits and hyphens")
    title: str = Field(min_length=1, max_length=80)
    description: str = Field(default="", max_length=500)
    instructions: str = Field(default="", max_length=20_000)
    starters: list[str] = Field(default_factory=list, max_length=8)
    languages: list[Language] = Field(default_factory=lambda: ["en"], min_length=1)
    temperature: float = Field(default=0.2, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=1, le=32_768)
    cases_file: str | None = None


class AssistantChange(Strict):
    model_config = example(title="Harbour desk", starters=["When does the ferry leave?"])

    title: str | None = Field(default=None, min_length=1, max_length=80)
    description: str | None = Field(default=None, max_length=500)
    instructions: str | None = Field(default=None, max_length=20_000)
    starters: list[str] | None = Field(default=None, max_length=8)
    languages: list[Language] | None = Field(default=None, min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=32_768)
    cases_file: str | None = None


class TopicPairs(Strict):
    topic: str
    pairs: int


class Readiness(Strict):
    """What the feedback on one assistant can support today."""

    assistant: str
    pairs: int
    """Preference pairs ready for DPO."""
    rated: int
    """Rated completions ready for KTO: answers with a thumb."""
    examples: int = 0
    """Better answers ready for supervised training. A correction of an answer that was cut off is one, and no pair."""
    up: int
    down: int
    people: int
    conversations: int
    needed: int
    """Pairs a round asks for at least."""
    excluded: dict[str, int]
    """Corrections and preferences that make no pair, counted by reason."""
    left_out: dict[Kind, dict[str, int]] = {}
    """The same of every kind of rows, examples and rated completions too."""
    topics: list[TopicPairs] = []
    """Pairs by topic, the weakest first: a topic of the held-out questions without any too. What is over one person's
    share is counted here. Empty while no pair's topic is known."""
    without_topic: int = 0
    """Pairs whose topic is not known: a reviewer can say it."""
    more_people: int = 0
    """How many more people have to judge, as nobody may give more than a share of a round."""
    signals: dict[Literal["dpo", "sft", "kto"], Signal] = {}
    """What was measured of each kind of rows."""
    ready: bool
    """Enough pairs, and nothing in their signal holds a round."""
    advice: str

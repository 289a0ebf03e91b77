"""A person's conversations: turns that branch where an answer was asked for again or a question was changed.

Owns how a conversation looks to whoever shows it. Knows nothing of how an answer is made.
"""

from typing import Literal

from pydantic import Field, model_validator

from service.contract.base import Strict, example
from service.contract.feedback import Standing

TurnStatus = Literal["running", "complete", "interrupted", "failed"]
START = "start"
"""The value of `metadata.follows` of a question that begins a conversation, or begins it anew."""


class Turn(Strict):
    """One question and its answer in a conversation, as the chat shows it again."""

    completion_id: str
    question: str
    answer: str
    status: TurnStatus
    release: int | None
    adapter: str
    created_at: int
    feedback: Standing
    follows: str | None = None
    """The turn before it; none at the beginning. Several that follow the same one are branches."""
    cut_off: bool = False
    """The answer ended at the longest that is allowed: no thumb and no choice trains on it, a correction does."""
    prompt: str = ""
    """Among branches: equal for answers to the very same prompt, which alone can be compared."""


class Conversation(Strict):
    id: str
    title: str
    assistant: str
    created_at: int
    updated_at: int
    pinned: bool = False
    training: bool = True
    """Whether feedback on its answers may become training data."""
    share: str | None = None
    """The secret part of the address under which everybody of the company may read it."""
    shared_at: int | None = None
    match: str | None = None
    """In the answer to a search: the words around what was found."""


class ConversationCreate(Strict):
    model_config = example(assistant="fanal", title="The ferry")

    assistant: str
    title: str = Field(default="", max_length=120)


class ConversationChange(Strict):
    """At least one of them."""

    model_config = example(title="The ferry", pinned=True)

    title: str | None = Field(default=None, min_length=1, max_length=120)
    pinned: bool | None = None
    training: bool | None = None
    shown: str | None = Field(default=None, min_length=1, max_length=100)
    """A turn whose branch is shown from now on."""

    @model_validator(mode="after")
    def _changes_something(self) -> "ConversationChange":
        if not self.model_fields_set:
            raise ValueError("say what to change: 'title', 'pinned', 'training' or 'shown'")
        return self


class ConversationTurns(Conversation):
    """With all its turns, in the order they were asked."""

    turns: list[Turn]
    path: list[str] = Field(default_factory=list)
    """The turns that are shown, from the first to the last: one branch of each."""


class SharedTurn(Strict):
    question: str
    answer: str
    status: TurnStatus
    release: int | None
    adapter: str
    created_at: int
    cut_off: bool = False


class SharedConversation(Strict):
    """What a colleague reads: the branch that was shown when it was shared, and nothing that was said of it."""

    title: str
    assistant: str
    person: str
    """The name of who shared it."""
    shared_at: int
    turns: list[SharedTurn]

"""Assistants, what was said with them, and what people thought of it."""

from typing import Any

from sqlalchemy import ForeignKey, Index, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table

_UNSORTED = {"sqlite_where": text("sorted = 0"), "postgresql_where": text("NOT sorted")}
"""In the words in which SQLAlchemy asks: else SQLite does not take the index."""


class Assistant(Table):
    __tablename__ = "assistants"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(Text)
    instructions: Mapped[str] = mapped_column(Text)
    starters: Mapped[list[str]]
    languages: Mapped[list[str]]
    temperature: Mapped[float]
    max_tokens: Mapped[int]
    live_release_id: Mapped[str | None]
    staged_release_id: Mapped[str | None]
    """A release on trial with some of the people."""
    staged_share: Mapped[int] = mapped_column(default=0)
    """Of every hundred people, so many."""
    cases_file: Mapped[str | None]
    created_at: Mapped[int]


class Conversation(Table):
    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    assistant: Mapped[str]
    title: Mapped[str]
    created_at: Mapped[int]
    updated_at: Mapped[int]
    pinned: Mapped[bool] = mapped_column(default=False)
    training: Mapped[bool] = mapped_column(default=True)
    """Whether feedback on its answers may become training data; outlives the conversation."""
    shown: Mapped[str | None]
    """The completion whose branch is shown; none: the newest."""
    share: Mapped[str | None] = mapped_column(unique=True)
    shared_turn: Mapped[str | None]
    """The last completion of the branch that was shared."""
    shared_title: Mapped[str | None]
    """The title at that moment."""
    shared_at: Mapped[int | None]
    deleted_at: Mapped[int | None]
    __table_args__ = (Index(None, "user_id", "updated_at"),)


class Completion(Table):
    """One answer and exactly what produced it. Written as `running`; ended once, then never changed."""

    __tablename__ = "completions"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    key_id: Mapped[str]
    conversation_id: Mapped[str | None] = mapped_column(index=True)
    channel: Mapped[str]
    request_id: Mapped[str]
    requested_model: Mapped[str]
    assistant: Mapped[str | None]
    release_id: Mapped[str | None]
    release_number: Mapped[int | None]
    adapter: Mapped[str]
    base_model: Mapped[str]
    instructions: Mapped[str] = mapped_column(Text)
    messages: Mapped[list[Any]]
    sampling: Mapped[dict[str, Any]]
    engine: Mapped[str]
    status: Mapped[str]
    output: Mapped[str] = mapped_column(Text)
    response: Mapped[dict[str, Any] | None]
    finish_reason: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    created_at: Mapped[float]
    ended_at: Mapped[float | None]
    kind: Mapped[str] = mapped_column(default="chat")
    """`chat`, or `prompt` for an answer to a raw prompt."""
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """The caller's own notes; the one part of an ended completion that may change."""
    begun: Mapped[dict[str, Any] | None]
    """What a response of `/v1/responses` repeats of its request; none for every other completion."""
    deleted_at: Mapped[int | None]
    """When its owner deleted it. What feedback leads back to stays, all else of it is erased."""
    __table_args__ = (
        Index(None, "assistant", "created_at"),
        Index(None, "user_id", "created_at"),
        Index(None, "created_at"),
    )


class Feedback(Table):
    """Append-only: a change or a retraction is a new row that supersedes the earlier one."""

    __tablename__ = "feedback"
    id: Mapped[str] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    key_id: Mapped[str]
    assistant: Mapped[str | None]
    type: Mapped[str]
    rating: Mapped[int | None]
    reasons: Mapped[list[str]]
    comment: Mapped[str | None] = mapped_column(Text)
    correction: Mapped[str | None] = mapped_column(Text)
    preferred_completion_id: Mapped[str | None] = mapped_column(index=True)
    preference: Mapped[str | None]
    """Of a preference: `better`, `tie` or `both_bad`; none for what is older, where it is `better`."""
    left_completion_id: Mapped[str | None]
    """Of a preference between two answers side by side: which of them stood on the left."""
    supersedes: Mapped[str | None] = mapped_column(index=True)
    at: Mapped[float]
    sorted: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether `material` knows of it: the one part that changes."""
    __table_args__ = (
        Index(None, "completion_id", "user_id"),
        Index(None, "assistant", "at"),
        Index(None, "user_id", "at"),
        Index(None, "at"),
        Index(None, "type"),
        Index("ix_feedback_unsorted", "assistant", "at", **_UNSORTED),
    )

"""What people decide about answers: duels, reviews, and answers whose verdict is agreed on."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class Duel(Table):
    """One question to two answerers. What was drawn is written before anything is asked, and never changes."""

    __tablename__ = "duels"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    assistant: Mapped[str] = mapped_column(index=True)
    question: Mapped[str] = mapped_column(Text)
    seed: Mapped[str]
    """Hexadecimal: from it and `contestants` the draw can be made again."""
    contestants: Mapped[list[Any]] = mapped_column(JSON)
    wanted_pairing: Mapped[str | None]
    pairing: Mapped[str]
    a_release: Mapped[int]
    b_release: Mapped[int]
    a_completion_id: Mapped[str | None]
    b_completion_id: Mapped[str | None]
    status: Mapped[str]
    choice: Mapped[str | None]
    strength: Mapped[int | None]
    feedback_id: Mapped[str | None]
    created_at: Mapped[float]
    ready_at: Mapped[float | None]
    decided_at: Mapped[float | None]
    __table_args__ = (Index(None, "user_id", "created_at"), Index(None, "created_at"))


class Review(Table):
    """One person's verdict on one answer. Taken back by the moment it was undone; nothing else of it changes."""

    __tablename__ = "reviews"
    id: Mapped[str] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"))
    assistant: Mapped[str | None] = mapped_column(index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    key_id: Mapped[str]
    verdict: Mapped[str]
    why: Mapped[str]
    correction: Mapped[str | None] = mapped_column(Text)
    skip_reason: Mapped[str | None]
    rubric: Mapped[dict[str, Any]]
    comment: Mapped[str | None] = mapped_column(Text)
    personal_data: Mapped[bool]
    topic: Mapped[str | None]
    expected: Mapped[str | None]
    feedback_id: Mapped[str | None]
    at: Mapped[float]
    undone_at: Mapped[float | None]
    __table_args__ = (Index(None, "completion_id", "user_id"), Index(None, "at"))


class WaitingAnswer(Table):
    """An answer that waits for somebody's verdict: derived from what was said of it, and made again at any time."""

    __tablename__ = "waiting_answers"
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"), primary_key=True)
    rank: Mapped[int]
    """The lower, the sooner it is shown: by why it waits."""
    at: Mapped[float]
    """When the last word on it was said."""
    __table_args__ = (Index(None, "rank", "at", "completion_id"),)


class ReviewReservation(Table):
    """An answer that somebody is judging now, and until when it is theirs."""

    __tablename__ = "review_reservations"
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    why: Mapped[str]
    expires_at: Mapped[float]


class GoldenItem(Table):
    """An answer whose verdict is agreed on beforehand."""

    __tablename__ = "golden_items"
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"), primary_key=True)
    expected: Mapped[str]
    note: Mapped[str | None] = mapped_column(Text)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[int]

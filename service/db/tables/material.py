"""What the standing feedback amounts to, kept as it comes: derived from it, and made again from it at any time."""

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class Material(Table):
    """The row that one piece of standing feedback makes for one kind of training, or its word on another's row."""

    __tablename__ = "material"
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[int] = mapped_column(primary_key=True)
    """What it says of the subject: 1 and -1 contradict each other, 0 is undecided."""
    assistant: Mapped[str]
    user_id: Mapped[str]
    """Who gave the feedback."""
    owner: Mapped[str]
    """Whose conversation it is."""
    conversation: Mapped[str]
    at: Mapped[float]
    subject: Mapped[str | None] = mapped_column(String(24))
    """What was judged, as a digest; none where the feedback counts for nothing."""
    voice: Mapped[str | None] = mapped_column(String(24))
    """Subject and person as one digest, to be looked for by."""
    fault: Mapped[str | None]
    """Why it must not train, whatever other feedback says."""
    draw: Mapped[int] = mapped_column(BigInteger)
    """A number by which rows are drawn when one person's are too many: from the feedback's id alone."""
    ratio: Mapped[int | None]
    """Of a pair: the step on the scale of lengths, see `preferences`."""
    adapters: Mapped[str]
    """Which adapters the answers came from, in alphabetical order; `base` for none."""
    left: Mapped[bool | None]
    """Of a preference whose sides are known: whether the preferred answer stood on the left."""
    topic: Mapped[str | None]
    """What the answer is about, where that is known."""
    __table_args__ = (Index(None, "assistant", "kind", "subject"), Index(None, "assistant", "voice", "side"))


class Subject(Table):
    """What is judged: two answers to one prompt (`dpo`), one answer to it (`kto`, `sft`). One of its rows may train."""

    __tablename__ = "subjects"
    assistant: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(24), primary_key=True)
    up: Mapped[int]
    down: Mapped[int]
    """How often it was said, for side 1 and side -1."""
    people_up: Mapped[int]
    people_down: Mapped[int]
    people_undecided: Mapped[int]
    people_torn: Mapped[int]
    """Who said both one and the other."""
    first: Mapped[str | None]
    """The feedback whose row trains, unless it is contested: the first that made one."""
    first_at: Mapped[float | None]
    trains: Mapped[bool]
    __table_args__ = (Index("ix_subjects_row", "assistant", "kind", "trains", "first_at", "first"),)


class FeedbackDay(Table):
    """What was said of an assistant's answers on a day that is over, which nothing changes any more."""

    __tablename__ = "feedback_days"
    assistant: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, index=True)
    """In UTC, counted from 1970."""
    at: Mapped[float]
    """When the last of it was said."""
    up: Mapped[int]
    down: Mapped[int]
    corrections: Mapped[int]
    preferences: Mapped[int]
    people: Mapped[int]


class Tally(Table):
    """One figure about an assistant's material, kept up to date with it, so that no screen counts rows."""

    __tablename__ = "tallies"
    assistant: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    __table_args__ = (Index(None, "assistant", "kind", "what", "n"),)

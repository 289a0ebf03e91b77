"""Documents to read, the draft examples cut from them, and which of those went into which import."""

from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class Document(Table):
    """One document that somebody brought. Its passages are its drafts; its bytes are not kept."""

    __tablename__ = "documents"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str]
    bytes: Mapped[int]
    kind: Mapped[str]
    pages: Mapped[int | None]
    empty_pages: Mapped[int]
    created_at: Mapped[int]
    __table_args__ = (Index(None, "created_at"),)


class Draft(Table):
    """A question and an answer. No dataset, job or file reads this table: `domain.documents` alone does."""

    __tablename__ = "drafts"
    id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    number: Mapped[int]
    status: Mapped[str]
    question: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    headings: Mapped[list[Any]]
    page: Mapped[int | None]
    line: Mapped[int | None]
    language: Mapped[str]
    proposed_by: Mapped[str | None]
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[float | None]
    __table_args__ = (Index(None, "document_id", "number", unique=True), Index(None, "document_id", "status"))


class DocumentUse(Table):
    """How many drafts of a document, confirmed by one person, went into an import. Outlives the document."""

    __tablename__ = "document_uses"
    import_id: Mapped[str] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    filename: Mapped[str] = mapped_column(Text)
    rows: Mapped[int]
    first_at: Mapped[float]
    last_at: Mapped[float]

"""Training data brought from elsewhere, and the data sheets of files."""

from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class Import(Table):
    """One file that somebody brought, how it was read and what became of it."""

    __tablename__ = "imports"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str]
    """Of the file as it came; its bytes are kept while it is under way and for a week."""
    bytes: Mapped[int]
    status: Mapped[str] = mapped_column(index=True)
    plan: Mapped[dict[str, Any]]
    preview: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    file_id: Mapped[str | None]
    """The file it became; that may be deleted while this record stays."""
    held_out_file_id: Mapped[str | None]
    """Likewise, of the rows that are held out."""
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    __table_args__ = (Index(None, "user_id", "created_at"), Index(None, "created_at"))


class Sheet(Table):
    """The data sheet of a file, written once."""

    __tablename__ = "sheets"
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    sheet: Mapped[dict[str, Any]]

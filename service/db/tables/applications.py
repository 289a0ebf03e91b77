"""What applications leave with us: files, uploads, batches, and where to tell them what ended."""

from typing import Any

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class File(Table):
    __tablename__ = "files"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[int]
    rows: Mapped[int]
    kind: Mapped[str]
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]
    expires_at: Mapped[int | None]
    parted: Mapped[dict[str, Any] | None]
    """Of rows that are held out: which training file they belong to, and how the two were parted."""
    __table_args__ = (Index(None, "created_at"),)


class Upload(Table):
    """A file that comes in parts; they lie on disk until it is completed, cancelled or expired."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    file_expires_after: Mapped[int | None]
    status: Mapped[str]
    file_id: Mapped[str | None]
    created_at: Mapped[int]
    expires_at: Mapped[int]
    __table_args__ = (Index(None, "user_id", "status"),)


class UploadPart(Table):
    __tablename__ = "upload_parts"
    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    bytes: Mapped[int]
    created_at: Mapped[int]


class Batch(Table):
    """Many requests in one file. Their answers lie on disk until it ends, and are files of their own then."""

    __tablename__ = "batches"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    key_id: Mapped[str]
    """Its lines are asked in this key's name, for as long as it is good."""
    request: Mapped[dict[str, Any]]
    """The create request as it came: for the wire, and to know a repeat of it."""
    endpoint: Mapped[str]
    input_file_id: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    model: Mapped[str | None]
    total: Mapped[int] = mapped_column(default=0)
    completed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    usage: Mapped[dict[str, Any] | None]
    errors: Mapped[list[Any] | None]
    output_file_id: Mapped[str | None]
    error_file_id: Mapped[str | None]
    moments: Mapped[dict[str, Any]]
    """When it came to each status: `in_progress_at` and so on."""
    created_at: Mapped[int]
    expires_at: Mapped[int]


class Webhook(Table):
    """Where an application hears of what ended. What it is signed with is derived, and stands nowhere."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]]
    everybody: Mapped[bool]
    enabled: Mapped[bool]
    disabled_because: Mapped[str | None]
    failing_since: Mapped[int | None]
    created_at: Mapped[int]


class Delivery(Table):
    """One event on its way to one webhook."""

    __tablename__ = "deliveries"
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"), primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[int]
    attempts: Mapped[int]
    status: Mapped[int | None]
    delivered_at: Mapped[int | None]
    due_at: Mapped[float | None] = mapped_column(index=True)
    """When it is tried next; none once it has ended."""

"""From data to what is live: datasets, jobs, adapters, releases, evaluations."""

from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.db.tables.table import Table


class Dataset(Table):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True)
    assistant: Mapped[str]
    kind: Mapped[str]
    number: Mapped[int]
    sha256: Mapped[str]
    training_file: Mapped[str] = mapped_column(ForeignKey("files.id"))
    validation_file: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    rows: Mapped[int]
    held_out: Mapped[int]
    people: Mapped[int]
    excluded: Mapped[dict[str, Any]]
    split_by: Mapped[str] = mapped_column(default="conversation", server_default="conversation")
    signal: Mapped[dict[str, Any] | None]
    """What was measured of its rows when it was frozen."""
    created_at: Mapped[int]
    created_by: Mapped[str]
    __table_args__ = (UniqueConstraint("assistant", "kind", "number"),)


class DatasetRow(Table):
    """Which feedback stands in which dataset: the way from a person's word to the adapters that learnt it."""

    __tablename__ = "dataset_rows"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id"), primary_key=True, index=True)
    split: Mapped[str]


class FileRow(Table):
    """Which feedback the rows of a file say they were made of that was brought and not frozen here."""

    __tablename__ = "file_rows"
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id"), primary_key=True, index=True)


class DatasetPerson(Table):
    """How much of a dataset is one person's: counted when it is frozen, so that nobody counts its rows again."""

    __tablename__ = "dataset_people"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    rows: Mapped[int]
    held_out: Mapped[int]


class Job(Table):
    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    request: Mapped[dict[str, Any]]
    """The create request as it came: for the wire, and to know a repeat of it."""
    settings: Mapped[dict[str, Any]]
    """Every number resolved."""
    model: Mapped[str]
    start_adapter: Mapped[str | None]
    training_file: Mapped[str | None]
    validation_file: Mapped[str | None]
    assistant: Mapped[str | None]
    release_id: Mapped[str | None]
    """The release that an evaluation measures."""
    fine_tuned_model: Mapped[str | None]
    adapter: Mapped[str | None]
    trained_tokens: Mapped[int | None]
    estimated_finish: Mapped[int | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(default=0)
    reached: Mapped[int] = mapped_column(default=0)
    """The step of the checkpoint that it last went on from: a job that gets further is not given up."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    pause_requested: Mapped[bool] = mapped_column(default=False)
    """A running job is to pause after its present step."""
    reasons: Mapped[dict[str, Any] | None]
    """Why each number that was left to the service is what it is."""
    result_file: Mapped[str | None]
    """Of its figures; none before it has published, or when that was deleted."""
    worker: Mapped[str | None]
    lease_until: Mapped[float | None]
    created_at: Mapped[int]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]


class JobEvent(Table):
    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[float]
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]


class Adapter(Table):
    """Immutable LoRA weights, published: seen to be served before this row was written."""

    __tablename__ = "adapters"
    digest: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    manifest: Mapped[dict[str, Any]]
    proof: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    bytes: Mapped[int]
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]


class Release(Table):
    __tablename__ = "releases"
    id: Mapped[str] = mapped_column(primary_key=True)
    assistant: Mapped[str] = mapped_column(index=True)
    number: Mapped[int]
    adapter: Mapped[str] = mapped_column(ForeignKey("adapters.digest"))
    job_id: Mapped[str | None]
    created_at: Mapped[int]
    evaluation_id: Mapped[str | None]
    __table_args__ = (UniqueConstraint("assistant", "number"),)


class Move(Table):
    """One move of an assistant's pointers: promotion, rollback, or a trial with some people; by whom and why."""

    __tablename__ = "moves"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    assistant: Mapped[str] = mapped_column(index=True)
    from_release_id: Mapped[str | None]
    to_release_id: Mapped[str | None]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    share: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int]


class Evaluation(Table):
    __tablename__ = "evaluations"
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    assistant: Mapped[str] = mapped_column(index=True)
    release_id: Mapped[str] = mapped_column(ForeignKey("releases.id"))
    cases_file: Mapped[str] = mapped_column(ForeignKey("files.id"))
    report: Mapped[dict[str, Any] | None]
    created_at: Mapped[int]
    finished_at: Mapped[int | None]

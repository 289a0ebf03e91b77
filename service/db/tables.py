"""All tables. Published rows never change: completions once ended, feedback, datasets, adapters, moves.

Times are Unix seconds, but for the `at` of events and feedback, which are seconds with a fraction.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, list[str]: JSON}


class User(Table):
    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[int]


class Key(Table):
    """An API key, a browser session or a one-time sign-in link; only a keyed hash is kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    hint: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    budget_id: Mapped[str | None]
    """Whose budget it spends: the key's it was made with; none: its own, under its own id."""
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    last_used_at: Mapped[int | None]


class Budget(Table):
    """The limits an administrator gave a key. Outlives the key, as others may spend from it."""

    __tablename__ = "budgets"
    id: Mapped[str] = mapped_column(primary_key=True)
    limits: Mapped[dict[str, Any]]


class Spending(Table):
    """What a budget spent on one day (days since 1970, UTC), open reservations included."""

    __tablename__ = "spendings"
    budget_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    requests: Mapped[int]
    tokens: Mapped[int] = mapped_column(BigInteger)


class Reservation(Table):
    """What one request holds of its budget; once settled, what it used. Kept for the length of a minute."""

    __tablename__ = "reservations"
    id: Mapped[str] = mapped_column(primary_key=True)
    budget_id: Mapped[str]
    day: Mapped[int]
    at: Mapped[float]
    tokens: Mapped[int]
    open: Mapped[bool]
    __table_args__ = (Index(None, "budget_id", "at"),)


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
    __table_args__ = (Index(None, "assistant", "created_at"), Index(None, "user_id", "created_at"))


class Feedback(Table):
    """Append-only: a change or a retraction is a new row that supersedes the earlier one."""

    __tablename__ = "feedback"
    id: Mapped[str] = mapped_column(primary_key=True)
    completion_id: Mapped[str] = mapped_column(ForeignKey("completions.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    key_id: Mapped[str]
    assistant: Mapped[str | None] = mapped_column(index=True)
    type: Mapped[str]
    rating: Mapped[int | None]
    reasons: Mapped[list[str]]
    comment: Mapped[str | None] = mapped_column(Text)
    correction: Mapped[str | None] = mapped_column(Text)
    preferred_completion_id: Mapped[str | None]
    supersedes: Mapped[str | None]
    at: Mapped[float]
    __table_args__ = (Index(None, "completion_id", "user_id"),)


class IdempotencyKey(Table):
    """A request answered once: the same key with the same body gets the same answer again."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str]
    response: Mapped[dict[str, Any]]
    created_at: Mapped[int]


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
    created_at: Mapped[int]
    created_by: Mapped[str]
    __table_args__ = (UniqueConstraint("assistant", "kind", "number"),)


class DatasetRow(Table):
    """Which feedback stands in which dataset: the way from a person's word to the adapters that learnt it."""

    __tablename__ = "dataset_rows"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id"), primary_key=True, index=True)
    split: Mapped[str]


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
    cancel_requested: Mapped[bool] = mapped_column(default=False)
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
    """One move of an assistant's live pointer: promotion or rollback, by whom and why."""

    __tablename__ = "moves"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    assistant: Mapped[str] = mapped_column(index=True)
    from_release_id: Mapped[str | None]
    to_release_id: Mapped[str | None]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
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

"""The journal of what people with power did: who, when, what, to what."""

from typing import Any, Literal

from service.contract.base import Strict

Action = Literal[
    "session.opened",
    "user.created", "user.changed", "link.made",
    "key.made", "key.changed", "key.revoked",
    "assistant.created", "assistant.changed",
    "release.promoted", "release.staged", "release.rolled_back",
    "round.started", "job.started", "job.paused", "job.resumed", "job.cancelled", "evaluation.started", "model.deleted",
    "adapter.exported", "adapter.imported",
    "document.brought", "document.deleted", "draft.confirmed", "draft.rejected", "draft.reopened", "drafts.filed",
    "file.deleted", "batch.cancelled", "import.started", "import.cancelled",
    "webhook.made", "webhook.changed", "webhook.deleted",
    "house_rules.changed", "records.erased", "audit.exported",
]  # fmt: skip


class AuditEntry(Strict):
    id: int
    at: float
    by: str
    """The person's name; `Tailorbird` for what the service does by a setting."""
    key: str
    """Id of the key or session used."""
    action: Action
    subject: str
    """Id or name of what it was done to."""
    detail: dict[str, Any]
    seal: str
    """Binds this entry and all before it: see `service.domain.audit`."""


class AuditCheck(Strict):
    """Whether the journal is as it was written."""

    intact: bool
    entries: int
    broken_at: int | None
    """Id of the first entry that was changed, or stands where another was taken out."""

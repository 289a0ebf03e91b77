"""All tables, by subject. Published rows never change: completions once ended, feedback, datasets, adapters, moves.

Times are Unix seconds, but for the `at` of events and feedback, which are seconds with a fraction.
"""

from service.db.tables.accounts import (
    AuditEntry,
    Budget,
    HouseRule,
    IdempotencyKey,
    Key,
    Reservation,
    Spending,
    User,
)
from service.db.tables.applications import Batch, Delivery, File, Upload, UploadPart, Webhook
from service.db.tables.chat import Assistant, Completion, Conversation, Feedback
from service.db.tables.documents import Document, DocumentUse, Draft
from service.db.tables.imports import Import, Sheet
from service.db.tables.judgements import Duel, GoldenItem, Review, ReviewReservation, WaitingAnswer
from service.db.tables.material import FeedbackDay, Material, Subject, Tally
from service.db.tables.table import Table
from service.db.tables.training import (
    Adapter,
    Dataset,
    DatasetPerson,
    DatasetRow,
    Evaluation,
    FileRow,
    Job,
    JobEvent,
    Move,
    Release,
)

__all__ = [
    "AuditEntry",
    "Adapter",
    "Assistant",
    "Batch",
    "Budget",
    "Completion",
    "Conversation",
    "Dataset",
    "DatasetPerson",
    "DatasetRow",
    "Delivery",
    "Document",
    "DocumentUse",
    "Draft",
    "Duel",
    "Evaluation",
    "Feedback",
    "FeedbackDay",
    "File",
    "FileRow",
    "GoldenItem",
    "HouseRule",
    "IdempotencyKey",
    "Import",
    "Job",
    "JobEvent",
    "Key",
    "Material",
    "Move",
    "Release",
    "Reservation",
    "Review",
    "ReviewReservation",
    "Sheet",
    "Spending",
    "Subject",
    "Table",
    "Tally",
    "Upload",
    "UploadPart",
    "User",
    "WaitingAnswer",
    "Webhook",
]

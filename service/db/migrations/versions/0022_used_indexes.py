"""Indexes that questions about much feedback use: of what waits to be sorted, and of verdicts

SQLite takes an index of some rows only for a question with the same condition in the same words, and SQLAlchemy writes
`sorted = 0` there. `NOT sorted`, as it was, served no question: each looked through all feedback.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _of_unsorted("sorted = 0")
    op.drop_index(op.f("ix_reviews_completion_id"), "reviews")
    op.create_index(op.f("ix_reviews_completion_id_user_id"), "reviews", ["completion_id", "user_id"])
    op.create_index(op.f("ix_reviews_at"), "reviews", ["at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_reviews_at"), "reviews")
    op.drop_index(op.f("ix_reviews_completion_id_user_id"), "reviews")
    op.create_index(op.f("ix_reviews_completion_id"), "reviews", ["completion_id"])
    _of_unsorted("NOT sorted")


def _of_unsorted(sqlite: str) -> None:
    op.drop_index("ix_feedback_unsorted", "feedback")
    op.create_index(
        "ix_feedback_unsorted",
        "feedback",
        ["assistant", "at"],
        sqlite_where=sa.text(sqlite),
        postgresql_where=sa.text("NOT sorted"),
    )

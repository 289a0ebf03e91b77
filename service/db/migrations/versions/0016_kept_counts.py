"""Which answers wait for a verdict, kept as feedback comes; what was said on each day that is over

The feedback that is there counts as not sorted yet: the gateway sorts it when it has started.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "waiting_answers",
        sa.Column("completion_id", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["completion_id"], ["completions.id"], name=op.f("fk_waiting_answers_completion_id")
        ),
        sa.PrimaryKeyConstraint("completion_id", name=op.f("pk_waiting_answers")),
    )
    op.create_index(
        op.f("ix_waiting_answers_rank_at_completion_id"), "waiting_answers", ["rank", "at", "completion_id"]
    )
    op.create_table(
        "feedback_days",
        sa.Column("assistant", sa.String(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in (
            "up", "down", "corrections", "preferences", "people",
        )),
        sa.PrimaryKeyConstraint("assistant", "day", name=op.f("pk_feedback_days")),
    )  # fmt: skip
    op.create_index(op.f("ix_feedback_days_day"), "feedback_days", ["day"])
    op.execute("UPDATE feedback SET sorted = false")


def downgrade() -> None:
    op.drop_table("feedback_days")
    op.drop_table("waiting_answers")

"""What an answer is about, as reviewers say it; the rows that feedback makes are counted by it

What was said of an answer whose metadata names a topic is sorted again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reviews", sa.Column("topic", sa.String(), nullable=True))
    op.add_column("material", sa.Column("topic", sa.String(), nullable=True))
    feedback = sa.table("feedback", sa.column("completion_id"), sa.column("sorted", sa.Boolean()))
    completions = sa.table("completions", sa.column("id"), sa.column("metadata", sa.JSON()))
    named = sa.select(completions.c.id).where(completions.c.metadata["topic"].as_string().is_not(None))
    op.execute(feedback.update().where(feedback.c.completion_id.in_(named)).values(sorted=False))


def downgrade() -> None:
    op.drop_column("material", "topic")
    op.drop_column("reviews", "topic")

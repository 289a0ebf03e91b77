"""All feedback is sorted again by rules that see more: personal data in an earlier answer of the conversation, and
held-out questions whose accents are written in another way"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE feedback SET sorted = false")


def downgrade() -> None:
    """What was sorted by either version is read by both."""

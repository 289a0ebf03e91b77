"""All feedback is sorted again by a rule that sees more prompts as the same: parts of text, white space around it"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE feedback SET sorted = false")


def downgrade() -> None:
    """What was sorted by either version is read by both."""

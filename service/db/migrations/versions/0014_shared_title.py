"""The title that a shared conversation had when it was shared"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("shared_title", sa.String(), nullable=True))
    op.execute("UPDATE conversations SET shared_title = title WHERE share IS NOT NULL")


def downgrade() -> None:
    op.drop_column("conversations", "shared_title")

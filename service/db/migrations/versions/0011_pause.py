"""Jobs that pause, and why their numbers are what they are"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("pause_requested", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("jobs", sa.Column("reached", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("reasons", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "reasons")
    op.drop_column("jobs", "reached")
    op.drop_column("jobs", "pause_requested")

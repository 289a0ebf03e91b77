"""A release on trial with some of the people"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("assistants", sa.Column("staged_release_id", sa.String(), nullable=True))
    op.add_column("assistants", sa.Column("staged_share", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("moves", sa.Column("share", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("moves", "share")
    op.drop_column("assistants", "staged_share")
    op.drop_column("assistants", "staged_release_id")

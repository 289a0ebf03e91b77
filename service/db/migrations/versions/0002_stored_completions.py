"""Stored completions: which kind, the caller's notes, and deletion"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("completions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(), nullable=False, server_default="chat"))
        batch_op.add_column(sa.Column("metadata", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("deleted_at", sa.Integer(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_completions_user_id_created_at"), ["user_id", "created_at"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("completions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_completions_user_id_created_at"))
        batch_op.drop_column("deleted_at")
        batch_op.drop_column("metadata")
        batch_op.drop_column("kind")

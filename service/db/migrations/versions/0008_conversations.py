"""Conversations: pinned, shared, kept from training, which branch is shown, and deletion that keeps the choice"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("training", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("shown", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("share", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("shared_turn", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("shared_at", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("deleted_at", sa.Integer(), nullable=True))
        batch_op.create_unique_constraint(batch_op.f("uq_conversations_share"), ["share"])


def downgrade() -> None:
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_conversations_share"), type_="unique")
        for name in ("deleted_at", "shared_at", "shared_turn", "share", "shown", "training", "pinned"):
            batch_op.drop_column(name)

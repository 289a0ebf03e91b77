"""Which API key a session was opened with; of those that were open before, nobody knows, and they end within 30 days"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("opened_with", sa.String(), nullable=True))
    op.create_index(op.f("ix_keys_opened_with"), "keys", ["opened_with"])


def downgrade() -> None:
    op.drop_index(op.f("ix_keys_opened_with"), "keys")
    op.drop_column("keys", "opened_with")

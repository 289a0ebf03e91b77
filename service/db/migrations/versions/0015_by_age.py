"""What is erased by its age is found by its age"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = ("completions", "duels", "imports")


def upgrade() -> None:
    for table in TABLES:
        op.create_index(op.f(f"ix_{table}_created_at"), table, ["created_at"])


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(op.f(f"ix_{table}_created_at"), table)

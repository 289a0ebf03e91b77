"""Which feedback the rows of a file that was brought say they were made of; of files that came before, nobody knows"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "file_rows",
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name=op.f("fk_file_rows_file_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["feedback_id"], ["feedback.id"], name=op.f("fk_file_rows_feedback_id")),
        sa.PrimaryKeyConstraint("file_id", "feedback_id", name=op.f("pk_file_rows")),
    )
    op.create_index(op.f("ix_file_rows_feedback_id"), "file_rows", ["feedback_id"])


def downgrade() -> None:
    op.drop_table("file_rows")

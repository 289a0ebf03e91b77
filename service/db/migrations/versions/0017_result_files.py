"""The file of figures that a training leaves behind"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("result_file", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "result_file")

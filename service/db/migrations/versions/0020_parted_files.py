"""Which training file the rows of a held-out file belong to; of datasets, that was known by the dataset alone"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("parted", sa.JSON(), nullable=True))
    op.add_column("imports", sa.Column("held_out_file_id", sa.String(), nullable=True))
    names = ("training_file", "validation_file", "split_by", "sha256")
    datasets = sa.table("datasets", *(sa.column(name, sa.String()) for name in names))
    files = sa.table("files", sa.column("id", sa.String()), sa.column("parted", sa.JSON()))
    database = op.get_bind()
    frozen = database.execute(sa.select(datasets).where(datasets.c.validation_file.is_not(None))).all()
    for one in frozen:
        parted = {"of": one.training_file, "by": one.split_by, "source_sha256": one.sha256}
        database.execute(sa.update(files).where(files.c.id == one.validation_file).values(parted=parted))


def downgrade() -> None:
    op.drop_column("imports", "held_out_file_id")
    op.drop_column("files", "parted")

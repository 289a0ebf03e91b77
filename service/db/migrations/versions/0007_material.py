"""What the feedback amounts to, kept as it comes; ties; how much of a dataset is whose

The feedback that is there counts as not sorted yet: the gateway sorts it when it has started.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UNSORTED = sa.text("NOT sorted")


def upgrade() -> None:
    op.add_column("feedback", sa.Column("preference", sa.String(), nullable=True))
    op.add_column("feedback", sa.Column("left_completion_id", sa.String(), nullable=True))
    op.add_column("feedback", sa.Column("sorted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index(op.f("ix_feedback_assistant"), "feedback")
    op.create_index(op.f("ix_feedback_assistant_at"), "feedback", ["assistant", "at"])
    op.create_index(op.f("ix_feedback_user_id_at"), "feedback", ["user_id", "at"])
    op.create_index(op.f("ix_feedback_at"), "feedback", ["at"])
    op.create_index(op.f("ix_feedback_preferred_completion_id"), "feedback", ["preferred_completion_id"])
    op.create_index(op.f("ix_feedback_type"), "feedback", ["type"])
    op.create_index(op.f("ix_feedback_supersedes"), "feedback", ["supersedes"])
    op.create_index(
        "ix_feedback_unsorted",
        "feedback",
        ["assistant", "at"],
        sqlite_where=UNSORTED,
        postgresql_where=UNSORTED,
    )
    op.add_column(
        "datasets", sa.Column("split_by", sa.String(), nullable=False, server_default="conversation")
    )
    op.add_column("datasets", sa.Column("signal", sa.JSON(), nullable=True))
    _create_material()
    _create_people()


def _create_material() -> None:
    op.create_table(
        "material",
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("assistant", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("subject", sa.String(24), nullable=True),
        sa.Column("voice", sa.String(24), nullable=True),
        sa.Column("fault", sa.String(), nullable=True),
        sa.Column("draw", sa.BigInteger(), nullable=False),
        sa.Column("ratio", sa.Integer(), nullable=True),
        sa.Column("adapters", sa.String(), nullable=False),
        sa.Column("left", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["feedback_id"], ["feedback.id"], name=op.f("fk_material_feedback_id")),
        sa.PrimaryKeyConstraint("feedback_id", "kind", "side", name=op.f("pk_material")),
    )
    for columns in (["assistant", "kind", "subject"], ["assistant", "voice", "side"]):
        op.create_index(op.f("ix_material_" + "_".join(columns)), "material", columns)
    op.create_table(
        "subjects",
        sa.Column("assistant", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(24), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in (
            "up", "down", "people_up", "people_down", "people_undecided", "people_torn",
        )),
        sa.Column("first", sa.String(), nullable=True),
        sa.Column("first_at", sa.Double(), nullable=True),
        sa.Column("trains", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("assistant", "kind", "subject", name=op.f("pk_subjects")),
    )  # fmt: skip
    op.create_index("ix_subjects_row", "subjects", ["assistant", "kind", "trains", "first_at", "first"])
    op.create_table(
        "tallies",
        sa.Column("assistant", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("assistant", "kind", "what", "name", name=op.f("pk_tallies")),
    )
    op.create_index(op.f("ix_tallies_assistant_kind_what_n"), "tallies", ["assistant", "kind", "what", "n"])


def _create_people() -> None:
    op.create_table(
        "dataset_people",
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("held_out", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_people_dataset_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_dataset_people_user_id")),
        sa.PrimaryKeyConstraint("dataset_id", "user_id", name=op.f("pk_dataset_people")),
    )
    op.create_index(op.f("ix_dataset_people_user_id"), "dataset_people", ["user_id"])
    op.execute(
        "INSERT INTO dataset_people (dataset_id, user_id, rows, held_out) "
        "SELECT r.dataset_id, f.user_id, SUM(CASE WHEN r.split = 'train' THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN r.split = 'train' THEN 0 ELSE 1 END) "
        "FROM dataset_rows r JOIN feedback f ON f.id = r.feedback_id GROUP BY r.dataset_id, f.user_id"
    )


def downgrade() -> None:
    op.drop_table("dataset_people")
    op.drop_table("tallies")
    op.drop_table("subjects")
    op.drop_table("material")
    for column in ("signal", "split_by"):
        op.drop_column("datasets", column)
    for name in (
        "unsorted",
        "supersedes",
        "type",
        "at",
        "user_id_at",
        "assistant_at",
        "preferred_completion_id",
    ):
        op.drop_index(f"ix_feedback_{name}", "feedback")
    op.create_index(op.f("ix_feedback_assistant"), "feedback", ["assistant"])
    for column in ("sorted", "left_completion_id", "preference"):
        op.drop_column("feedback", column)

"""Stage 2: trials that train what the search has found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("created", "open", "succeeded", "infeasible", "failed", "cancelled", "due"):
        op.add_column("jobs", sa.Column(f"train_{name}", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trials", sa.Column("stage", sa.String(8), nullable=False, server_default="SEARCH"))
    op.add_column("trials", sa.Column("source_trial", sa.String(64), nullable=False, server_default=""))
    op.create_index(
        "ix_trials_trained",
        "trials",
        ["job_id"],
        sqlite_where=sa.text("stage = 'TRAIN'"),
        postgresql_where=sa.text("stage = 'TRAIN'"),
    )

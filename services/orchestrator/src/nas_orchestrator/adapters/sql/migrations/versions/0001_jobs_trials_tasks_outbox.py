"""Jobs, trials, tasks and outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("display_name", sa.String(length=128), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("output_dir", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("created", sa.Integer(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("infeasible", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("best_trial", sa.Integer(), nullable=False),
        sa.Column("best_reward", sa.Double(), nullable=True),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.Column("end_time", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("request_id", name=op.f("uq_jobs_request_id")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("device_type", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("saved_model_dir", sa.Text(), nullable=False),
        sa.Column("lease_worker", sa.String(length=128), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=False),
        sa.Column("lease_expiry", sa.Double(), nullable=False),
        sa.Column("claim_id", sa.String(length=128), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_tasks_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("job_id", "trial_number", "kind", name=op.f("uq_tasks_job_id_trial_number_kind")),
    )
    op.create_index(
        "ix_tasks_lease_expiry",
        "tasks",
        ["lease_expiry"],
        unique=False,
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    )
    op.create_index(
        "ix_tasks_lease_worker",
        "tasks",
        ["lease_worker"],
        unique=False,
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    )
    op.create_index(
        "ix_tasks_queued",
        "tasks",
        ["kind", "device_type", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'QUEUED'"),
        postgresql_where=sa.text("state = 'QUEUED'"),
    )
    op.create_table(
        "trials",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.Column("nas_params_str", sa.Text(), nullable=False),
        sa.Column("proposed_after", sa.Integer(), nullable=False),
        sa.Column("trial_dir", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("trained", sa.Boolean(), nullable=False),
        sa.Column("measured", sa.Boolean(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=True),
        sa.Column("latest_step", sa.BigInteger(), nullable=False),
        sa.Column("latest_metrics", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("failure_reason", sa.String(length=32), nullable=False),
        sa.Column("infeasible_reason", sa.Text(), nullable=False),
        sa.Column("settled_order", sa.Integer(), nullable=False),
        sa.Column("winning_attempt", sa.Integer(), nullable=False),
        sa.Column("train_attempts", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.Column("start_time", sa.Double(), nullable=True),
        sa.Column("end_time", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_trials_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_trials")),
    )
    op.create_index(
        "ix_trials_open",
        "trials",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
        postgresql_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
    )
    op.create_index(
        "uq_trials_settled_order",
        "trials",
        ["job_id", "settled_order"],
        unique=True,
        sqlite_where=sa.text("settled_order > 0"),
        postgresql_where=sa.text("settled_order > 0"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_trials_settled_order",
        table_name="trials",
        sqlite_where=sa.text("settled_order > 0"),
        postgresql_where=sa.text("settled_order > 0"),
    )
    op.drop_index(
        "ix_trials_open",
        table_name="trials",
        sqlite_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
        postgresql_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
    )
    op.drop_table("trials")
    op.drop_index(
        "ix_tasks_queued",
        table_name="tasks",
        sqlite_where=sa.text("state = 'QUEUED'"),
        postgresql_where=sa.text("state = 'QUEUED'"),
    )
    op.drop_index(
        "ix_tasks_lease_worker",
        table_name="tasks",
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    )
    op.drop_index(
        "ix_tasks_lease_expiry",
        table_name="tasks",
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    )
    op.drop_table("tasks")
    op.drop_table("outbox")
    op.drop_table("jobs")

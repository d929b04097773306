"""Tables of the store. Times are seconds since the epoch; JSON is stored as text.

`migrations/` builds the same tables step by step; a test holds the two against each other.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.String(128), unique=True),
    sa.Column("display_name", sa.String(128), nullable=False),
    # nas.v1.SearchJobSpec as JSON.
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("output_dir", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error_message", sa.Text, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
    sa.Column("open", sa.Integer, nullable=False),
    sa.Column("succeeded", sa.Integer, nullable=False),
    sa.Column("infeasible", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("cancelled", sa.Integer, nullable=False),
    # Of stage 2, as above of the search.
    *(
        sa.Column(f"train_{name}", sa.Integer, nullable=False, server_default="0")
        for name in ("created", "open", "succeeded", "infeasible", "failed", "cancelled", "due")
    ),
    sa.Column("best_trial", sa.Integer, nullable=False),
    sa.Column("best_reward", sa.Double),
    sa.Column("create_time", sa.Double, nullable=False),
    sa.Column("end_time", sa.Double),
    sa.Column("version", sa.Integer, nullable=False),
)

trials = sa.Table(
    "trials",
    metadata,
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # Indices of the choices, separated by commas.
    sa.Column("choices", sa.Text, nullable=False),
    sa.Column("nas_params_str", sa.Text, nullable=False),
    sa.Column("proposed_after", sa.Integer, nullable=False),
    sa.Column("trial_dir", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("trained", sa.Boolean, nullable=False),
    sa.Column("measured", sa.Boolean, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("reward", sa.Double),
    sa.Column("latest_step", sa.BigInteger, nullable=False),
    sa.Column("latest_metrics", sa.Text, nullable=False),
    sa.Column("error_message", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.String(32), nullable=False),
    sa.Column("infeasible_reason", sa.Text, nullable=False),
    # 0 while open or when cancelled; a settled trial's place in the order of settling.
    sa.Column("settled_order", sa.Integer, nullable=False),
    sa.Column("winning_attempt", sa.Integer, nullable=False),
    sa.Column("train_attempts", sa.Integer, nullable=False),
    sa.Column("create_time", sa.Double, nullable=False),
    sa.Column("start_time", sa.Double),
    sa.Column("end_time", sa.Double),
    sa.Column("stage", sa.String(8), nullable=False, server_default="SEARCH"),
    # Stage TRAIN: name of the search trial.
    sa.Column("source_trial", sa.String(64), nullable=False, server_default=""),
    sa.Column("version", sa.Integer, nullable=False),
    # The history in order; no two trials settle in the same place.
    sa.Index(
        "uq_trials_settled_order",
        "job_id",
        "settled_order",
        unique=True,
        sqlite_where=sa.text("settled_order > 0"),
        postgresql_where=sa.text("settled_order > 0"),
    ),
    # Stage 2 is a small part of the trials.
    sa.Index(
        "ix_trials_trained",
        "job_id",
        sqlite_where=sa.text("stage = 'TRAIN'"),
        postgresql_where=sa.text("stage = 'TRAIN'"),
    ),
    # The few that are open, however many have ended.
    sa.Index(
        "ix_trials_open",
        "job_id",
        sqlite_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
        postgresql_where=sa.text("state IN ('REQUESTED', 'ACTIVE', 'STOPPING')"),
    ),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("job_id", sa.BigInteger, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("trial_number", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("device_type", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("losses", sa.Integer, nullable=False),
    sa.Column("saved_model_dir", sa.Text, nullable=False),
    sa.Column("lease_worker", sa.String(128), nullable=False),
    sa.Column("lease_token", sa.String(64), nullable=False),
    sa.Column("lease_expiry", sa.Double, nullable=False),
    sa.Column("claim_id", sa.String(128), nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # A trial has one task of each kind, however often its birth is reported.
    sa.UniqueConstraint("job_id", "trial_number", "kind"),
    sa.Index(
        "ix_tasks_queued",
        "kind",
        "device_type",
        "id",
        sqlite_where=sa.text("state = 'QUEUED'"),
        postgresql_where=sa.text("state = 'QUEUED'"),
    ),
    sa.Index(
        "ix_tasks_lease_expiry",
        "lease_expiry",
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    ),
    sa.Index(
        "ix_tasks_lease_worker",
        "lease_worker",
        sqlite_where=sa.text("state = 'LEASED'"),
        postgresql_where=sa.text("state = 'LEASED'"),
    ),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    # Name of the event's class, and its fields as JSON.
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

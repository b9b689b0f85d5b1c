"""The first tables: requests, experiments, trials, the outbox, the ledger and ensembles."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SEARCHING = "state IN ('accepted', 'waiting', 'running', 'searched')"


def _where(condition: str) -> dict[str, Any]:
    return {f"{dialect}_where": sa.text(condition) for dialect in ("sqlite", "postgresql")}


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("search_key", sa.String(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("data_hash", sa.JSON()),
        sa.Column("summary", sa.JSON()),
        sa.Column("verdict", sa.JSON()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("traceparent", sa.String()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("request_id", name=op.f("uq_experiments_request_id")),
    )
    op.create_index(op.f("ix_experiments_state"), "experiments", ["state"])
    op.create_index("uq_experiments_searching", "experiments", ["search_key"], unique=True, **_where(SEARCHING))
    op.create_table(
        "holdout_looks",
        sa.Column("lineage", sa.String(), nullable=False),
        sa.Column("span", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lineage", "span", "experiment", name=op.f("pk_holdout_looks")),
        sa.UniqueConstraint("lineage", "span", "number", name=op.f("uq_holdout_looks_lineage")),
    )
    op.create_table(
        "ledger",
        sa.Column("lineage", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("ticker", sa.String(), nullable=False),
        sa.Column("sharpe_per_session", sa.Float()),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("span_digest", sa.String(), nullable=False),
        sa.Column("profit", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lineage", "fingerprint", name=op.f("pk_ledger")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("message_id", name=op.f("uq_outbox_message_id")),
    )
    op.create_index("ix_outbox_unpublished", "outbox", ["id"], **_where("published_at IS NULL"))
    op.create_table(
        "sequences",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_sequences")),
    )
    op.create_table(
        "ensembles",
        sa.Column("ensemble", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("tickers", sa.JSON(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deployed_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("version >= 1", name=op.f("ck_ensembles_version")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_ensembles_experiment")),
        sa.PrimaryKeyConstraint("ensemble", "version", name=op.f("pk_ensembles")),
    )
    op.create_index(op.f("ix_ensembles_experiment"), "ensembles", ["experiment"])
    op.create_index(op.f("ix_ensembles_state"), "ensembles", ["state"])
    op.create_index("uq_ensembles_deployed", "ensembles", ["ensemble"], unique=True, **_where("state = 'deployed'"))
    op.create_table(
        "names",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_names_experiment")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_names")),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String()),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("deploy", sa.JSON()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("traceparent", sa.String()),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_requests_experiment")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_experiment"), "requests", ["experiment"])
    op.create_table(
        "trials",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("trial", sa.String(), nullable=False),
        sa.Column("tickers", sa.JSON(), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("data_hash", sa.String(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("metrics", sa.JSON()),
        sa.Column("eligible", sa.Boolean()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_trials_experiment")),
        sa.PrimaryKeyConstraint("experiment", "trial", name=op.f("pk_trials")),
    )
    op.create_index(op.f("ix_trials_fingerprint"), "trials", ["fingerprint"])
    op.create_table(
        "trial_histories",
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("trial", sa.String(), nullable=False),
        sa.Column("prediction", sa.LargeBinary(), nullable=False),
        sa.Column("profit", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment", "trial"], ["trials.experiment", "trials.trial"], name=op.f("fk_trial_histories_experiment")
        ),
        sa.PrimaryKeyConstraint("experiment", "trial", name=op.f("pk_trial_histories")),
    )


def downgrade() -> None:
    for table in (
        "trial_histories",
        "trials",
        "requests",
        "names",
        "ensembles",
        "sequences",
        "outbox",
        "ledger",
        "holdout_looks",
        "experiments",
    ):
        op.drop_table(table)

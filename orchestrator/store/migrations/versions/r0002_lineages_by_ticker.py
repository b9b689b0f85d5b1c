"""A lineage is one ticker's: the ledger and the looks at hold-outs of several tickers are divided among them."""

import hashlib
import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LEDGER = sa.table("ledger", *map(sa.column, ("lineage", "fingerprint", "experiment", "ticker")))
LOOKS = sa.table(
    "holdout_looks",
    *map(sa.column, ("span", "experiment", "number")),
    sa.column("looked_at", sa.DateTime(timezone=True)),
)
EXPERIMENTS = sa.table("experiments", sa.column("id"), sa.column("request", sa.JSON()))
SEQUENCES = sa.table("sequences", sa.column("scope"))


def lineage_of(ticker: str, request: dict[str, Any]) -> str:
    """What `lineage_key` says of a request's ticker."""
    timeframe = request["timeframe"]
    intraday = timeframe[-1] in "smh" and int(timeframe[:-1]) * {"s": 1, "m": 60, "h": 3600}[timeframe[-1]] < 86_400
    target = {
        "target/horizon": request["horizon"] or (12 if intraday else 1),
        "target/transform": request["target_transform"],
        "ticker": ticker,
        "timeframe": timeframe,
    }
    return hashlib.sha256(json.dumps(target, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def upgrade() -> None:
    connection = op.get_bind()
    requests = {row.id: row.request for row in connection.execute(sa.select(EXPERIMENTS))}
    _divide_ledger(connection, requests)
    old = connection.execute(sa.select(LOOKS).where(LOOKS.c.experiment.in_(requests))).all()
    op.drop_table("holdout_looks")
    looks = op.create_table(
        "holdout_looks",
        sa.Column("lineage", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("span_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("span_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lineage", "experiment", "span_start", "span_end", name=op.f("pk_holdout_looks")),
    )
    divided: dict[tuple[str, ...], dict[str, Any]] = {}
    for look in old:
        start, end = look.span.split("/")
        for ticker in requests[look.experiment]["tickers"]:
            lineage = lineage_of(ticker, requests[look.experiment])
            divided[lineage, look.experiment, start, end] = {
                "lineage": lineage,
                "experiment": look.experiment,
                "span_start": datetime.fromisoformat(start),
                "span_end": datetime.fromisoformat(end),
                "number": look.number,
                "looked_at": look.looked_at,
            }
    if divided:
        connection.execute(sa.insert(looks), list(divided.values()))
    connection.execute(sa.delete(SEQUENCES).where(SEQUENCES.c.scope == "holdout-looks"))


def downgrade() -> None:
    op.drop_table("holdout_looks")
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


def _divide_ledger(connection: sa.Connection, requests: dict[str, dict[str, Any]]) -> None:
    """Rows go to their own ticker's lineage; of a configuration that was scored in several, one stays."""
    groups = connection.execute(
        sa.select(LEDGER.c.lineage, LEDGER.c.ticker, sa.func.min(LEDGER.c.experiment).label("experiment"))
        .where(LEDGER.c.experiment.in_(sa.select(EXPERIMENTS.c.id)))
        .group_by(LEDGER.c.lineage, LEDGER.c.ticker)
    ).all()
    for group in groups:
        lineage = lineage_of(group.ticker, requests[group.experiment])
        own = (LEDGER.c.lineage == group.lineage) & (LEDGER.c.ticker == group.ticker)
        known = sa.select(LEDGER.c.fingerprint).where(LEDGER.c.lineage == lineage)
        connection.execute(sa.delete(LEDGER).where(own & LEDGER.c.fingerprint.in_(known)))
        connection.execute(sa.update(LEDGER).where(own).values(lineage=lineage))

"""The tables. A migration in `migrations/versions` goes with every change here; a test holds the two equal."""

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

from orchestrator.core.drift import Watch
from orchestrator.core.lifecycle import LINE, SEARCHING, State
from orchestrator.core.performance import Account
from orchestrator.core.versions import VersionState
from orchestrator.store.columns import Array, Instant, Json
from schemas.base import Reason
from schemas.commands import AddMember, DeployEnsemble
from schemas.envelope import Headers
from schemas.experiments import GateVerdict
from schemas.policies import Policy
from schemas.search import Deploy, SearchRequest


class RequestOutcome(StrEnum):
    """What became of a search request."""

    RECEIVED = "received"
    """Only inside the transaction that settles it."""
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class TrialStatus(StrEnum):
    """Where a trial is; the last three are final."""

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED_EARLY = "stopped_early"
    FAILED = "failed"


def _choice(choices: type[StrEnum]) -> Enum:
    return Enum(choices, native_enum=False, length=16, values_callable=lambda enum: [member.value for member in enum])


def _reasons() -> Column[tuple[Reason, ...]]:
    return Column("reasons", Json(tuple[Reason, ...]), nullable=False)


_searching = text(f"state IN ({', '.join(repr(state.value) for state in LINE if state in SEARCHING)})")
_unpublished = text("published_at IS NULL")
_held = text("holder IS NOT NULL")
_deployed = text(f"state = '{VersionState.DEPLOYED}'")
_shadowing = text(f"state = '{VersionState.SHADOWING}'")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("outcome", _choice(RequestOutcome), nullable=False),
    Column("experiment", ForeignKey("experiments.id"), index=True),
    Column("raw", LargeBinary, nullable=False),
    Column("deploy", Json(Deploy)),
    _reasons(),
    Column("traceparent", String),
    Column("received_at", Instant, nullable=False),
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", String, primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    _reasons(),
    Column("received_at", Instant, nullable=False),
)
"""What operators have asked for; with reasons: what could not be done."""

experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),
    Column("request_id", String, nullable=False, unique=True),
    Column("search_key", String, nullable=False),
    Column("state", _choice(State), nullable=False, index=True),
    Column("request", Json(SearchRequest), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("expires_at", Instant),
    Column("position", Integer),
    Column("trials", Integer, nullable=False),
    Column("data_hash", JSON(none_as_null=True)),
    Column("progress", JSON(none_as_null=True)),
    Column("selection", JSON(none_as_null=True)),
    Column("summary", JSON(none_as_null=True)),
    Column("verdict", Json(GateVerdict)),
    _reasons(),
    Column("traceparent", String),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Index("uq_experiments_searching", "search_key", unique=True, sqlite_where=_searching, postgresql_where=_searching),
)
"""`priority` and `expires_at` are those of its most urgent and its most patient request; `position` is the place in the
queue that it was last told.
"""

names = Table(
    "names",
    metadata,
    Column("name", String, primary_key=True),
    Column("experiment", ForeignKey("experiments.id"), nullable=False),
)
"""What experiments may be called: their ids, and the names that attached duplicates asked for."""

trials = Table(
    "trials",
    metadata,
    Column("experiment", ForeignKey("experiments.id"), primary_key=True),
    Column("trial", String, primary_key=True),
    Column("tickers", Json(tuple[str, ...]), nullable=False),
    Column("configuration", JSON, nullable=False),
    Column("fingerprint", String, nullable=False, index=True),
    Column("data_hash", String, nullable=False),
    Column("parent", String),
    Column("inherited", JSON, nullable=False, server_default="[]"),
    Column("status", _choice(TrialStatus), nullable=False),
    Column("metrics", JSON(none_as_null=True)),
    Column("eligible", Boolean),
    _reasons(),
    Column("seconds", Float),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
)

trial_histories = Table(
    "trial_histories",
    metadata,
    Column("experiment", String, primary_key=True),
    Column("trial", String, primary_key=True),
    Column("prediction", Array, nullable=False),
    Column("profit", Array, nullable=False),
    ForeignKeyConstraint(["experiment", "trial"], ["trials.experiment", "trials.trial"]),
)
"""Apart from `trials`, so that listing trials reads no arrays."""

trial_steps = Table(
    "trial_steps",
    metadata,
    Column("experiment", String, primary_key=True),
    Column("trial", String, primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("budget", Integer),
    Column("metrics", JSON, nullable=False),
    Column("eligible", Boolean, nullable=False),
    Column("reasons", Json(tuple[Reason, ...]), nullable=False, server_default="[]"),
    Column("recorded_by", String),
    ForeignKeyConstraint(["experiment", "trial"], ["trials.experiment", "trials.trial"]),
)
"""How far each trial was trained, and its score then: what a search goes on from when its driver has died.

`recorded_by` is the experiment whose score it is, where it was known and nothing was trained.
"""

fingerprints = Table(
    "fingerprints",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("experiment", String, nullable=False, index=True),
    Column("trial", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    ForeignKeyConstraint(
        ["experiment", "trial", "step"], ["trial_steps.experiment", "trial_steps.trial", "trial_steps.step"]
    ),
)
"""Where the result of each piece of training is that is known: a step of a trial that was trained.

`whole` says that the trial's history is of this step. Clearing takes rows away here, and nothing else anywhere.
"""

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("ix_leases_held", "name", sqlite_where=_held, postgresql_where=_held),
)
"""The newest lease of each name; without a holder it has been given back. `expires_at` is by the database's clock."""

artifacts = Table(
    "artifacts",
    metadata,
    Column("digest", String, primary_key=True),
    Column("noted_at", Instant, nullable=False),
)
"""What ensembles were assembled of, deployed or not, and when last; what was pruned is not here any more."""

sequences = Table(
    "sequences",
    metadata,
    Column("scope", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("message_id", String, nullable=False, unique=True),
    Column("topic", String, nullable=False),
    Column("key", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", Json(Headers), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("published_at", Instant),
    Index("ix_outbox_unpublished", "id", sqlite_where=_unpublished, postgresql_where=_unpublished),
)

ledger = Table(
    "ledger",
    metadata,
    Column("lineage", String, primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("experiment", String, nullable=False),
    Column("ticker", String, nullable=False),
    Column("sharpe_per_session", Float),
    Column("sessions", Integer, nullable=False),
    Column("span_digest", String, nullable=False),
    Column("profit", Array, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
"""Every configuration ever scored, once a ticker. No foreign key: it outlives experiments, and nothing clears it."""

holdout_looks = Table(
    "holdout_looks",
    metadata,
    Column("lineage", String, primary_key=True),
    Column("experiment", String, primary_key=True),
    Column("span_start", Instant, primary_key=True),
    Column("span_end", Instant, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("looked_at", Instant, nullable=False),
)
"""Event times of the first and the last bar that were looked at, and which look that was."""

ensembles = Table(
    "ensembles",
    metadata,
    Column("ensemble", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", _choice(VersionState), nullable=False, index=True),
    Column("experiment", ForeignKey("experiments.id"), index=True),
    Column("manifest", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("members", Integer, nullable=False),
    Column("mode", String, nullable=False),
    Column("tickers", Json(tuple[str, ...]), nullable=False),
    Column("timeframe", String, nullable=False),
    Column("verdict", Json(GateVerdict), nullable=False),
    _reasons(),
    Column("proposed_at", Instant, nullable=False),
    Column("deployed_at", Instant),
    Column("ended_at", Instant),
    Column("command_id", String),
    Column("canary", Json(tuple[str, ...]), nullable=False, server_default="[]"),
    CheckConstraint("version >= 1", name="version"),
    Index("uq_ensembles_deployed", "ensemble", unique=True, sqlite_where=_deployed, postgresql_where=_deployed),
    Index("uq_ensembles_shadowing", "ensemble", unique=True, sqlite_where=_shadowing, postgresql_where=_shadowing),
)
"""One row a version. What it is never changes; where it is (`state`, times, reasons, by which command) does.

One of registered models alone is of no experiment. `canary` are the instruments that a challenger is heard on.
"""

wishes = Table(
    "wishes",
    metadata,
    Column("command_id", String, primary_key=True),
    Column("experiment", ForeignKey("experiments.id"), nullable=False, index=True),
    Column("ensemble", String, nullable=False, index=True),
    Column("deploy", Json(Deploy), nullable=False),
    Column("wished_at", Instant, nullable=False),
)
"""Ensembles of experiments that the gate has judged already, which commands ask for; gone once they are settled."""

models = Table(
    "models",
    metadata,
    Column("digest", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("format", String, nullable=False),
    Column("algorithm", String, nullable=False),
    Column("feature_names", Json(tuple[str, ...]), nullable=False),
    Column("tickers", Json(tuple[str, ...]), nullable=False),
    Column("timeframe", String, nullable=False),
    Column("target_transform", String, nullable=False),
    Column("horizon", Integer, nullable=False),
    Column("trained_through", Instant, nullable=False),
    Column("registered_at", Instant, nullable=False),
)
"""Model files that operators have registered, by what they hold; the artifacts keep them."""

model_wishes = Table(
    "model_wishes",
    metadata,
    Column("command_id", String, primary_key=True),
    Column("ensemble", String, nullable=False, index=True),
    Column("command", Json(DeployEnsemble | AddMember), nullable=False),
    Column("wished_at", Instant, nullable=False),
)
"""Versions with registered models, which commands ask for; gone once they are settled."""

performance = Table(
    "performance",
    metadata,
    Column("ensemble", String, primary_key=True),
    Column("mode", String, primary_key=True),
    Column("account", Json(Account), nullable=False),
)
"""No foreign key: signals outlive what gave them."""

performance_read = Table(
    "performance_read",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
)
"""The first record of each partition of the signals that is not in `performance` yet; written with it."""

books = Table(
    "books",
    metadata,
    Column("ensemble", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("account", Json(Account), nullable=False),
)
"""What following one version's own signals earns, live or in shadow, on whichever topic they are."""

policies = Table(
    "policies",
    metadata,
    Column("ensemble", String, primary_key=True),
    Column("policy", Json(Policy), nullable=False),
    Column("command_id", String, nullable=False),
    Column("set_at", Instant, nullable=False),
)

triggers = Table(
    "triggers",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("ensemble", String, nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("cause", JSON, nullable=False),
    Column("trials", Integer, nullable=False),
    Column("joined", JSON, nullable=False, server_default="[]"),
    Column("fired_at", Instant, nullable=False),
)
"""Each of them asked for one search. `joined` are the causes that came inside its cool-down, each once."""

watches = Table(
    "watches",
    metadata,
    Column("ensemble", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("ticker", String, primary_key=True),
    Column("watch", Json(Watch), nullable=False),
)
"""Where the detectors of a version stand, on one instrument."""

watch_read = Table(
    "watch_read",
    metadata,
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
)
"""The first record of each partition of the ticks that is not in `watches` yet; written with it."""

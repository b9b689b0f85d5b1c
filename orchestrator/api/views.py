"""The shapes of what is shown: REST answers with them, and the dashboard draws them."""

from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState
from orchestrator.store.ensembles import Version
from orchestrator.store.tables import TrialStatus
from schemas.base import Instant, JsonObject, Mode, Reason, Scalar
from schemas.ensembles import FilledAt
from schemas.experiments import GateVerdict, Survivor
from schemas.search import SearchRequest

T = TypeVar("T")


class View(BaseModel):
    """Something that is shown."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class Slice(View, Generic[T]):
    """A page of a list."""

    total: int
    """Of all pages."""
    offset: int
    items: tuple[T, ...]


class ExperimentLine(View):
    """An experiment in a list."""

    name: str
    request_id: str
    """Of the request that founded it."""
    state: State
    strategy: str
    algorithm: str
    tickers: tuple[str, ...]
    timeframe: str
    metric: str
    """What its trials are compared by; `objective`: see `objective_of`."""
    objective_of: str | None
    """Of a search over several tickers at once: the metric whose mean over tickers, plus the worst, trials are compared
    by; null: `metric` is what it says."""
    mode: str
    trials: int
    """Planned."""
    finished: int
    """With their final score, or stopped early."""
    failed: int
    best: float | None
    """Best value of the metric so far."""
    deflated_sharpe: float | None
    """Of the best trial: the probability that it is not luck."""
    cached: int
    """Steps of training that were known by their fingerprints."""
    trials_per_second: float | None
    priority: int
    position: int | None
    """How many will begin before it; null: it does not wait."""
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    reasons: tuple[Reason, ...]
    """Why it failed."""

    @property
    def compared_by(self) -> str:
        """What its trials are compared by, in full."""
        return self.metric if self.objective_of is None else f"mean plus worst {self.objective_of}"


class TrialLine(View):
    """A trial."""

    trial: str
    tickers: tuple[str, ...]
    status: TrialStatus
    configuration: dict[str, Scalar]
    metrics: dict[str, float | None] | None
    eligible: bool | None
    """False: never selected; `reasons` say why."""
    reasons: tuple[Reason, ...]
    steps: int
    """How often it was scored; a search by generations or rungs scores a trial several times."""
    budget: int | None
    """Until which it was trained in all: rounds, epochs, or percent of the rows; null: in full."""
    cached: bool
    """Its last score was known by its fingerprint, and not trained again."""
    recorded_by: str | None
    """The experiment that trained it, where its last score was known."""
    parent: str | None
    """The trial that this one is a mutated clone of."""
    fingerprint: str
    seconds: float | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class ExperimentDetail(ExperimentLine):
    """An experiment, and a page of its trials."""

    request: SearchRequest
    aliases: tuple[str, ...]
    """Other names that it was asked for under."""
    verdict: GateVerdict | None
    survivors: tuple[Survivor, ...]
    passed_over: tuple[Reason, ...]
    """Better trials that were left out, and why."""
    effective_votes: dict[str, float]
    """By ticker: how many independent votes its survivors are worth."""
    by_status: dict[TrialStatus, int]
    total_trials: int
    """Those that the filter leaves."""
    offset: int
    all_trials: tuple[TrialLine, ...]


class Step(View):
    """A score of a trial on its way."""

    step: int
    budget: int | None
    metrics: dict[str, float | None]
    eligible: bool
    recorded_by: str | None


class TrialDetail(TrialLine):
    """A trial, how it came to its score, and what it has earned out of fold."""

    step_scores: tuple[Step, ...]
    profit: tuple[float, ...] | None
    """After costs, by session, as a share of the stake; null: it is not kept."""


class Point(View):
    """A trial that was better than all before it."""

    finished_at: Instant
    trial: str
    metric: float


class Dot(View):
    """As much of a trial as a picture of all of them takes."""

    trial: str
    parent: str | None
    tickers: tuple[str, ...]
    status: TrialStatus
    eligible: bool | None
    configuration: dict[str, Scalar]
    metric: float | None


class Earned(View):
    """What following an ensemble's signals has earned, in one mode."""

    mode: Mode
    version: int
    since: Instant | None
    through: Instant | None
    signals: int
    sessions: int
    hit_rate: float | None
    net_sharpe: float | None
    net_return: float
    confidence: float | None
    """The probability that the true Sharpe ratio is above 0."""
    filled_at: FilledAt


class VersionLine(View):
    """A version of an ensemble."""

    version: int
    state: VersionState
    mode: Mode
    members: int
    tickers: tuple[str, ...]
    timeframe: str
    experiment: str | None
    digest: str
    verdict: GateVerdict
    reasons: tuple[Reason, ...]
    """Why it failed, or was taken back."""
    voting: str
    threshold: float
    trained_through: Instant
    proposed_at: Instant
    deployed_at: Instant | None
    ended_at: Instant | None

    @classmethod
    def of(cls, version: Version) -> Self:
        """The line of a version that the database has."""
        manifest = version.manifest
        told = {name: getattr(version, name) for name in VersionLine.model_fields if hasattr(version, name)}
        return cls.model_validate(told | {name: manifest[name] for name in ("voting", "threshold", "trained_through")})


class MemberLine(View):
    """One that votes."""

    member: str
    trial: str
    algorithm: str
    tickers: tuple[str, ...]
    weight: float
    metric: float | None
    configuration: dict[str, Scalar]
    artifact: str
    """Digest of its model."""
    feature_names: tuple[str, ...]

    @classmethod
    def of(cls, member: JsonObject, algorithm: str) -> Self:
        """The line of a member as a manifest has it, whose members are of this algorithm unless they say otherwise."""
        told = {name: member[name] for name in MemberLine.model_fields if name in member}
        own = {"tickers": tuple(member["records"]), "algorithm": member.get("algorithm") or algorithm}
        return cls.model_validate(told | own)


class EnsembleLine(View):
    """An ensemble in a list."""

    name: str
    serving_version: int | None
    """Null: none serves."""
    serving: VersionLine | None
    newest: VersionLine
    versions: int


class EnsembleDetail(View):
    """An ensemble: its versions, who votes, and what that has earned."""

    name: str
    serving_version: int | None
    versions: tuple[VersionLine, ...]
    """Oldest first."""
    members: tuple[MemberLine, ...]
    """Of the version that serves, else of the newest."""
    performance: tuple[Earned, ...]
    endpoint: str | None = None
    """Where it answers POST; null: Ray Serve is not up."""


class FingerprintStats(View):
    """How much is known, and how much training that has saved."""

    fingerprints: int
    experiments: int
    oldest: Instant | None
    newest: Instant | None
    saved: int
    """Steps of training that were answered by what is known."""


class FingerprintLine(View):
    """Where the result of a piece of training is."""

    fingerprint: str
    trial: str
    step: int
    whole: bool
    """It can be another trial's final score."""

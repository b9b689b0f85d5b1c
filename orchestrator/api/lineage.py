"""What a signal goes back to, as REST, the command line and the dashboard tell it: shapes, and how they are filled."""

from collections.abc import Sequence

from orchestrator.api.ports import FoundSignal, Looked, Sought
from orchestrator.api.reading import NotFound
from orchestrator.api.views import MemberLine, VersionLine, View
from orchestrator.core.lifecycle import State
from orchestrator.core.splits import FoldPlan
from orchestrator.core.versions import VersionState
from orchestrator.store import lineage
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from orchestrator.store.lineage import Lineage
from orchestrator.store.retraining import Trigger
from orchestrator.store.tables import RequestOutcome
from schemas.base import Instant, JsonObject, Reason
from schemas.search import SearchRequest
from schemas.signals import Signal


class SignalPlace(View):
    """Where a signal lies."""

    topic: str
    partition: int
    offset: int
    produced_at: Instant


class TracedMember(MemberLine):
    """One that votes, and the training that it is of."""

    fingerprint: str | None
    """Of all that its result depends on."""
    data_hash: str | None
    """Of the bars that its trial was scored on; null: it is a registered model."""
    parent: str | None
    """The trial that it is a mutated clone of."""
    trained_by: str | None
    """The experiment that trained it, where that was another one whose result was known."""


class TracedVersion(VersionLine):
    """The version that gave a signal, and what it says by."""

    horizon: int | None
    execution: str | None
    calendar: str | None


class Folds(View):
    """How trials were scored: on spans that follow what was trained on, with no label of the one in the other."""

    folds: int
    initial: float
    """Share of the bars before the first span."""
    embargo: int
    """Bars before each span that no training label touches."""
    holdout: int
    """Sessions at the end that no trial saw."""


class TracedExperiment(View):
    """The search that the members are of."""

    name: str
    state: State
    search_key: str
    """The same for all requests of the same work."""
    trials: int
    data_hash: dict[str, str] | None
    """Of the bars, by ticker."""
    folds: Folds
    request: SearchRequest
    """The one that founded it."""
    created_at: Instant
    finished_at: Instant | None


class TracedRequest(View):
    """A request that the experiment was asked by."""

    request_id: str
    outcome: RequestOutcome
    received_at: Instant
    requested_by: str | None
    cause: JsonObject | None
    """Why, where something other than a person asked."""
    parent: str | None
    """The experiment that it follows."""
    ensemble: str | None
    """That its survivors were to become; null: none."""


class TracedTrigger(View):
    """The rule that made the request."""

    request_id: str
    kind: str
    version: int
    """The one whose successor it asked for."""
    cause: JsonObject
    joined: tuple[JsonObject, ...]
    """What came besides, inside its cool-down."""
    trials: int
    fired_at: Instant


class TracedLook(View):
    """A look that the experiment took at a hold-out."""

    lineage: str
    span_start: Instant
    span_end: Instant
    number: int
    looked_at: Instant


class TracedCommand(View):
    """The command that had the version served last, as it came."""

    command_id: str
    received_at: Instant
    command: JsonObject


class Champion(View):
    """A version that served before."""

    version: int
    state: VersionState
    experiment: str | None
    digest: str
    deployed_at: Instant | None
    ended_at: Instant | None
    reasons: tuple[Reason, ...]


class SignalLineage(View):
    """All that has led to a signal."""

    signal: Signal
    found: SignalPlace
    ensemble: str
    version: TracedVersion
    members: tuple[TracedMember, ...]
    """Of the signal's ticker."""
    experiment: TracedExperiment | None
    """Null: the members are registered models."""
    requests: tuple[TracedRequest, ...]
    trigger: TracedTrigger | None
    """Null: somebody asked."""
    looks: tuple[TracedLook, ...]
    command: TracedCommand | None
    champions: tuple[Champion, ...]
    """Those that served before, back to the first: the champion before comes first."""


async def of_signal(database: Database, signal_id: str, sought: Sought) -> SignalLineage:
    """What a signal that was looked for goes back to.

    Raises:
        NotFound: it was not found, or is of a version that this database does not have.
    """
    if sought.found is None:
        raise NotFound("signal", signal_id, f": {told(sought.looked)}")
    signal = sought.found.signal
    async with database.snapshot() as tx:
        found = await lineage.of(tx, signal.ensemble, signal.version)
    if found is None:
        raise NotFound("version", f"{signal.version} of {signal.ensemble}", f", which signal {signal_id} is of")
    return _filled(sought.found, found)


def told(looked: Sequence[Looked]) -> str:
    """How far was looked, in words."""
    parts = [
        f"{each.topic} {_far(each)}"
        for each in looked
        # What has no record says nothing of how far was looked.
        if each.records
    ]
    return f"looked through {', '.join(parts)}" if parts else "no signal is kept"


def _far(looked: Looked) -> str:
    if looked.whole:
        return f"as a whole ({looked.records:,} records)"
    return f"back to {looked.back_to:%Y-%m-%d %H:%M:%S} UTC ({looked.records:,} records)"


def _filled(place: FoundSignal, found: Lineage) -> SignalLineage:
    version, manifest = found.version, found.version.manifest
    ticker = place.signal.ticker
    return SignalLineage(
        signal=place.signal,
        found=SignalPlace(**{name: getattr(place, name) for name in SignalPlace.model_fields}),
        ensemble=version.ensemble,
        version=TracedVersion.model_validate(
            dict(VersionLine.of(version)) | {name: manifest.get(name) for name in ("horizon", "execution", "calendar")}
        ),
        members=tuple(_member(each, found) for each in manifest["members"] if ticker in each["records"]),
        experiment=None if found.experiment is None else _experiment(found.experiment),
        requests=tuple(_request(each, found) for each in found.requests),
        trigger=None if found.trigger is None else _trigger(found.trigger),
        looks=tuple(TracedLook.model_validate(vars(each)) for each in found.looks),
        command=None
        if found.command is None
        else TracedCommand(
            command_id=found.command.command_id,
            received_at=found.command.received_at,
            command=found.command.document,
        ),
        champions=tuple(map(_champion, found.champions)),
    )


def _member(each: JsonObject, found: Lineage) -> TracedMember:
    trial = found.trials.get(each["trial"])
    return TracedMember.model_validate(
        dict(MemberLine.of(each, found.version.manifest["algorithm"]))
        | {
            "fingerprint": each.get("fingerprint"),
            "data_hash": None if trial is None else trial.data_hash,
            "parent": None if trial is None else trial.parent,
            "trained_by": found.trained_by.get(each["trial"]),
        }
    )


def _experiment(found: Experiment) -> TracedExperiment:
    plan = FoldPlan()
    return TracedExperiment(
        name=found.id,
        state=found.state,
        search_key=found.search_key,
        trials=found.trials,
        data_hash=found.data_hash,
        folds=Folds(folds=plan.folds, initial=plan.initial, embargo=plan.embargo, holdout=found.request.holdout),
        request=found.request,
        created_at=found.created_at,
        finished_at=found.finished_at,
    )


def _request(each: lineage.Asking, found: Lineage) -> TracedRequest:
    asked, name = each.request, None if found.experiment is None else found.experiment.id
    return TracedRequest(
        request_id=asked.request_id,
        outcome=each.outcome,
        received_at=each.received_at,
        requested_by=asked.requested_by,
        cause=asked.cause,
        parent=asked.parent,
        ensemble=(asked.deploy.ensemble_name or name) if asked.deploy.auto else None,
    )


def _trigger(found: Trigger) -> TracedTrigger:
    return TracedTrigger.model_validate({name: getattr(found, name) for name in TracedTrigger.model_fields})


def _champion(each: Version) -> Champion:
    return Champion.model_validate({name: getattr(each, name) for name in Champion.model_fields})

"""A version that can answer: its manifest and all that it names, loaded, verified and tried on the probe rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.algorithms.base import Predictor
from orchestrator.algorithms.formats import read_model
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.errors import Refused
from schemas.base import JsonObject, Mode, Reason
from serving.artifacts import Artifacts
from serving.calibration import MemberCalibration, Reliability, TickerCalibration
from serving.decision import Rules
from serving.manifest import EnsembleManifest, Knots, Member, MemberRecord, read_manifest
from serving.rolling import Worth

GateOutcome = Literal["passed", "overridden"]


class UnusableVersion(Refused):
    """The version was loaded, but must not answer."""


def slot_beside(ensemble: str, version: int) -> str:
    """Where a challenger answers; no ensemble can have this name."""
    return f"{ensemble}@{version}"


def is_beside(slot: str) -> bool:
    """Whether a challenger answers there."""
    return "@" in slot


@dataclass(frozen=True)
class ServedVersion:
    """Which version of an ensemble is to be served, or is, and how it is heard."""

    ensemble: str
    version: int
    digest: str
    """Of the manifest, which the artifacts hold."""
    mode: Mode
    gate: GateOutcome
    beside: bool = False
    """On trial beside the version that serves, whose challenger it is."""

    @property
    def slot(self) -> str:
        """Where it answers: in its ensemble's place, or in one of its own beside that."""
        return slot_beside(self.ensemble, self.version) if self.beside else self.ensemble

    def configuration(self, artifacts: Path, key_digest: str | None = None) -> JsonObject:
        """What a replica is told: JSON, the same for the same version and key."""
        return {**asdict(self), "artifacts": str(artifacts), "key_digest": key_digest}


@dataclass(frozen=True)
class Standing:
    """The version that answers; `objections` say why it must give way to the one before, which stands in for it."""

    served: ServedVersion
    objections: tuple[Reason, ...] = ()
    key_digest: str | None = None
    """Of the key that it is asked with over HTTP."""


def read_configuration(configuration: JsonObject) -> tuple[ServedVersion, Artifacts, str | None]:
    """The version, where it is kept and the key's digest, as `ServedVersion.configuration` wrote them."""
    fields = dict(configuration)
    artifacts, key_digest = Artifacts(Path(fields.pop("artifacts"))), fields.pop("key_digest", None)
    return ServedVersion(**fields), artifacts, key_digest


@dataclass(frozen=True, eq=False)
class Voter:
    """A member on one ticker: `columns` are the places of its features among the panel's."""

    member: str
    predictor: Predictor
    columns: Integers


@dataclass(frozen=True, eq=False)
class Panel:
    """Those who vote on one ticker; `feature_names` (f,) are what any of them needs, `low` and `high` (f,) the range of
    each in training, NaN where it is not known."""

    feature_names: tuple[str, ...]
    low: Floats
    high: Floats
    voters: tuple[Voter, ...]
    calibration: TickerCalibration
    calibration_id: str
    rules: Rules

    @cached_property
    def worth(self) -> Worth | None:
        """What a score is worth, for whoever rolls the calibration forward; None: there is none to be rolled."""
        if self.calibration.reference is None:
            return None
        curve = self.calibration.reliability
        knots = () if curve is None else (tuple(curve.strength.tolist()), tuple(curve.chance.tolist()))
        return Worth(self.rules.cost, *knots)


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version in memory; `panels` by ticker."""

    served: ServedVersion
    manifest: EnsembleManifest
    panels: Mapping[str, Panel]


def load_version(served: ServedVersion, artifacts: Artifacts) -> LoadedVersion:
    """Load a version with everything that its manifest names.

    Raises:
        ArtifactMissing, ArtifactDamaged: of the manifest, a predictor or a calibration.
        MalformedManifest, UnknownAlgorithm, MalformedModel: what was loaded is not understood here.
        UnusableVersion: the manifest is another ensemble's, or a member does not predict what it did when assembled.
    """
    manifest = read_manifest(artifacts.get(served.digest))
    if manifest.ensemble != served.ensemble:
        message = f"The manifest belongs to the ensemble {manifest.ensemble}; deploy it under that name."
        raise UnusableVersion([Reason(code="foreign_manifest", where=served.ensemble, message=message)])
    predictors = {member.member: load_member(member, manifest, artifacts) for member in manifest.members}
    panels = {ticker: _panel(ticker, manifest, predictors, artifacts) for ticker in manifest.tickers}
    return LoadedVersion(served, manifest, panels)


def load_member(member: Member, manifest: EnsembleManifest, artifacts: Artifacts) -> Predictor:
    """A member's predictor, which predicts what it did when it was assembled; raises as `load_version`.

    A joblib file is read by what runs nothing that it carries here, too, though the registry has its digest.
    """
    content = artifacts.get(member.artifact)
    names = None if member.format == "sealed" else member.feature_names
    predictor = read_model(member.format, content, member.algorithm or manifest.algorithm, names)
    expected = np.asarray(member.probe.prediction)
    found = predictor.predict(np.asarray(member.probe.features))
    if predictor.feature_names != member.feature_names:
        message = "The predictor takes other features than the manifest says; assemble the ensemble again."
        raise UnusableVersion([Reason(code="features_differ", where=member.member, message=message)])
    # Another machine may round the last bits otherwise; anything more is another model, or another library's reading.
    if not np.allclose(found, expected, rtol=1e-6, atol=1e-12):
        message = f"It predicts {found.tolist()} on its probe rows, not {list(expected)}; search and deploy again."
        raise UnusableVersion([Reason(code="probe_failed", where=member.member, message=message[:4096])])
    return predictor


def _panel(ticker: str, manifest: EnsembleManifest, predictors: Mapping[str, Predictor], artifacts: Artifacts) -> Panel:
    members, terms = manifest.members_on(ticker), manifest.tickers[ticker]
    names = tuple(dict.fromkeys(name for member in members for name in member.feature_names))
    place = {name: number for number, name in enumerate(names)}
    voters = tuple(
        Voter(
            member=member.member,
            predictor=predictors[member.member],
            columns=np.array([place[name] for name in member.feature_names], dtype=np.int64),
        )
        for member in members
    )
    records = tuple(member.records[ticker] for member in members)
    calibration = TickerCalibration(
        members=tuple(calibration_of(record, artifacts) for record in records),
        reference=None if terms.reference is None else artifacts.get_array(terms.reference),
        reliability=None if terms.reliability is None else _reliability(terms.reliability),
    )
    rules = Rules(
        voting=manifest.voting,
        threshold=manifest.threshold,
        cost=terms.cost,
        min_edge_bps=manifest.min_edge_bps,
        weight=np.array([member.weight for member in members]),
        calibration=manifest.calibration,
    )
    ranges = terms.ranges or {}
    low, high = np.array([ranges.get(name, (np.nan, np.nan)) for name in names], dtype=np.float64).T
    return Panel(names, low, high, voters, calibration, terms.calibration_id, rules)


def calibration_of(record: MemberRecord, artifacts: Artifacts) -> MemberCalibration:
    """A member's record as it calibrates; raises as `Artifacts.get`."""
    return MemberCalibration(artifacts.get_array(record.reference), _reliability(record.reliability))


def _reliability(knots: Knots) -> Reliability:
    return Reliability(np.asarray(knots.strength), np.asarray(knots.chance))

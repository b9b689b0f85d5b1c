"""Enlisting: registered models become members of a new version, calibrated on bars that they were not trained on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from orchestrator.algorithms.base import Predictor
from orchestrator.core.arrays import Floats, Times
from orchestrator.core.errors import Refused
from orchestrator.core.models import RegisteredModel
from schemas.base import Reason
from serving.artifacts import Artifacts
from serving.assemble import knots, probe_of, ticker_rules
from serving.calibration import MemberCalibration, TickerCalibration, calibrate_member
from serving.decision import Rules, calibrate_finally, with_reference
from serving.manifest import EnsembleManifest, Member, MemberRecord, Outline, TickerRules
from serving.version import calibration_of, load_member

LEAST_BARS = 60
"""That a model was not trained on, and whose outcome is known: a distribution of fewer says nothing."""
FOLDS = 4
"""Of the bars that a vote is calibrated on: each is judged by what was known before it."""


class CannotEnlist(Refused):
    """The models cannot vote, or cannot be calibrated."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One ticker's bars, oldest first, on which at least one of the models was not trained.

    `event_time` and `target` are (n,), the target NaN where unknown; `features` is (n, f), finite, its columns called
    `feature_names`. `cost` is of a change of position by one unit, as a fraction.
    """

    event_time: Times
    target: Floats
    features: Floats
    feature_names: tuple[str, ...]
    data_hash: str
    cost: float


@dataclass(frozen=True, eq=False)
class Newcomer:
    """A registered model, read, and the tickers that it is to vote on."""

    model: RegisteredModel
    predictor: Predictor
    tickers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Voter:
    """Who votes on one ticker; `record` is None where it has none yet."""

    name: str
    predictor: Predictor
    weight: float
    trained_through: datetime
    record: MemberCalibration | None = None


def enlist(
    outline: Outline,
    base: EnsembleManifest | None,
    newcomers: Sequence[Newcomer],
    rows: Mapping[str, Rows],
    artifacts: Artifacts,
    *,
    reach: int,
) -> EnsembleManifest:
    """A version with these models: those of `base`, if there is one, and the newcomers.

    A model's own record is what it predicts of bars that it was not trained on. Members of the base keep the records
    that they have. How a vote becomes a score is learned anew on the bars that none of its voters was trained on; on
    tickers without a newcomer it stays as it is.

    Args:
        outline: of the version.
        base: the version to which members are added.
        newcomers: one at least.
        rows: by each ticker of a newcomer.
        artifacts: hold the models' files and what the base is made of; the calibrations are kept there.
        reach: bars from a decision to the end of its label: those after training are touched by its labels.

    Raises:
        CannotEnlist: with every fault.
        Refused: a member of the base cannot be loaded.
    """
    if faults := tuple(_faults(base, newcomers, rows)):
        raise CannotEnlist(faults)
    records: dict[tuple[str, str], MemberRecord] = {}
    tickers: dict[str, TickerRules] = {} if base is None else dict(base.tickers)
    for ticker in dict.fromkeys(ticker for each in newcomers for ticker in each.tickers):
        known = tickers.get(ticker)
        here = rows[ticker] if known is None else replace(rows[ticker], cost=known.cost)
        voters = [*_standing(base, ticker, artifacts), *_new(newcomers, ticker)]
        own = {each.name: _own_record(each, ticker, here, reach) for each in voters if each.record is None}
        voters = [replace(each, record=each.record or own[each.name]) for each in voters]
        calibration = _calibrated(outline, ticker, here, voters, reach)
        tickers[ticker] = ticker_rules(
            calibration,
            artifacts,
            cost=here.cost,
            data_hash=here.data_hash,
            # Of the features that a newcomer was trained on, nobody has told.
            ranges=None if known is None else known.ranges,
            profile=None if known is None else known.profile,
        )
        for name, record in own.items():
            reference = artifacts.put_array(record.reference)
            records[name, ticker] = MemberRecord(reference=reference, reliability=knots(record.reliability))
    through = [each.model.trained_through for each in newcomers]
    return EnsembleManifest(
        **{name: getattr(outline, name) for name in Outline.model_fields},
        trained_through=max(through if base is None else [base.trained_through, *through]),
        members=_members(base, newcomers, rows, records),
        tickers=tickers,
    )


def _faults(base: EnsembleManifest | None, newcomers: Sequence[Newcomer], rows: Mapping[str, Rows]) -> Iterator[Reason]:
    for each in newcomers:
        name = each.model.name
        for ticker in each.tickers:
            if missing := [
                feature for feature in each.model.feature_names if feature not in rows[ticker].feature_names
            ]:
                message = (
                    f"the bars of {ticker} have no {', '.join(missing)}: add these features, or leave {ticker} out"
                )
                yield Reason(code="missing_feature", where=name, message=message[:4096])
        for member in () if base is None else base.members:
            if member.member != name:
                continue
            if member.artifact != each.model.digest:
                message = (
                    f"another member of {base.ensemble if base else ''} goes by this name: register it under its own"
                )
                yield Reason(code="name_taken", where=name, message=message)
            elif again := sorted(set(each.tickers) & set(member.records)):
                yield Reason(code="already_member", where=name, message=f"it votes on {', '.join(again)} already")


def _standing(base: EnsembleManifest | None, ticker: str, artifacts: Artifacts) -> list[_Voter]:
    """Those who vote on a ticker in the base."""
    if base is None:
        return []
    return [
        _Voter(
            name=member.member,
            predictor=load_member(member, base, artifacts),
            weight=member.weight,
            # Of all of them together: what one was trained on is not told.
            trained_through=base.trained_through,
            record=calibration_of(member.records[ticker], artifacts),
        )
        for member in base.members_on(ticker)
    ]


def _new(newcomers: Sequence[Newcomer], ticker: str) -> list[_Voter]:
    return [
        _Voter(each.model.name, each.predictor, 1.0, each.model.trained_through)
        for each in newcomers
        if ticker in each.tickers
    ]


def _own_record(voter: _Voter, ticker: str, rows: Rows, reach: int) -> MemberCalibration:
    """What a model's predictions are worth on bars that it was not trained on."""
    unseen = _unseen(ticker, rows, [voter], reach)
    return calibrate_member(_predictions(ticker, rows, [voter], unseen)[:, 0], rows.target[unseen])


def _calibrated(outline: Outline, ticker: str, rows: Rows, voters: Sequence[_Voter], reach: int) -> TickerCalibration:
    """The vote of all of a ticker's members, on the bars that none of them was trained on."""
    unseen = _unseen(ticker, rows, voters, reach)
    prediction, target = _predictions(ticker, rows, voters, unseen), rows.target[unseen]
    rules = Rules(
        voting=outline.voting,
        threshold=outline.threshold,
        cost=rows.cost,
        min_edge_bps=outline.min_edge_bps,
        weight=np.array([each.weight for each in voters]),
        calibration=outline.calibration,
    )
    fold = np.arange(len(target)) * FOLDS // len(target)
    causal = calibrate_finally(prediction, target, fold, rules, reach=reach)
    members = tuple(each.record for each in voters if each.record is not None)
    reliability = None if causal is None else causal[0].reliability
    return replace(with_reference(TickerCalibration(members), prediction, rules), reliability=reliability)


def _unseen(ticker: str, rows: Rows, voters: Sequence[_Voter], reach: int) -> slice:
    """The bars after everything that any of the voters was trained on, its labels too."""
    through = max(each.trained_through for each in voters)
    moment = np.datetime64(through.astimezone(UTC).replace(tzinfo=None), "us")
    unseen = slice(int(np.searchsorted(rows.event_time, moment, side="right")) + reach, None)
    count = int(np.isfinite(rows.target[unseen]).sum())
    if count < LEAST_BARS:
        names = ", ".join(each.name for each in voters)
        message = (
            f"{count} bars of {ticker}, whose outcome is known, lie more than {reach} bars after "
            f"{through.isoformat()}, up to which {names} were trained; at least {LEAST_BARS} are needed to calibrate "
            "them: wait for more bars, or take models that were trained on fewer"
        )
        raise CannotEnlist([Reason(code="too_few_bars", where=ticker, message=message[:4096])])
    return unseen


def _predictions(ticker: str, rows: Rows, voters: Sequence[_Voter], unseen: slice) -> Floats:
    """Predictions (n, m) of the voters."""
    place = {name: number for number, name in enumerate(rows.feature_names)}
    columns: list[Floats] = []
    for voter in voters:
        names = voter.predictor.feature_names
        if missing := [name for name in names if name not in place]:
            message = f"the bars of {ticker} have no {', '.join(missing)}, which it takes: add these features"
            raise CannotEnlist([Reason(code="missing_feature", where=voter.name, message=message[:4096])])
        found = voter.predictor.predict(rows.features[unseen][:, [place[name] for name in names]])
        if bad := int((~np.isfinite(found)).sum()):
            message = f"of {len(found)} bars of {ticker} it predicts nothing finite of {bad}: train it anew"
            raise CannotEnlist([Reason(code="not_finite", where=voter.name, message=message)])
        columns.append(found)
    return np.column_stack(columns)


def _members(
    base: EnsembleManifest | None,
    newcomers: Sequence[Newcomer],
    rows: Mapping[str, Rows],
    records: Mapping[tuple[str, str], MemberRecord],
) -> tuple[Member, ...]:
    """Those of the base, then the newcomers; one that votes on another ticker already has one record more."""
    members = {} if base is None else {member.member: member for member in base.members}
    for each in newcomers:
        model = each.model
        own = {ticker: records[model.name, ticker] for ticker in each.tickers}
        if model.name in members:
            before = members[model.name]
            members[model.name] = before.model_copy(update={"records": {**before.records, **own}})
            continue
        here = rows[each.tickers[0]]
        place = [here.feature_names.index(name) for name in model.feature_names]
        members[model.name] = Member(
            member=model.name,
            trial=model.name,
            fingerprint=model.digest,
            metric=None,
            configuration={},
            artifact=model.digest,
            format=model.format,
            algorithm=model.algorithm,
            weight=1.0,
            feature_names=model.feature_names,
            records=own,
            probe=probe_of(each.predictor, here.features[:, place][::-1]),
        )
    return tuple(members.values())

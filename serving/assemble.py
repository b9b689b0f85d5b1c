"""Assembling: survivors become an ensemble version, calibrated and written down."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.core.draft import Assembled, Candidate, EnsembleDraft, FittedPredictor
from orchestrator.core.errors import Refused
from schemas.base import Reason
from serving.artifacts import Artifacts
from serving.calibration import Reliability, TickerCalibration
from serving.decision import Rules, calibrate_finally
from serving.manifest import EnsembleManifest, Knots, Member, MemberRecord, Probe, TickerRules

PROBE_ROWS = 3


class UnusableCandidates(Refused):
    """The candidates cannot form an ensemble."""


@dataclass(frozen=True, eq=False)
class Record:
    """Out-of-fold records of a ticker's candidates on the n bars that all of them have; `prediction` is (n, m)."""

    event_time: Times
    prediction: Floats
    target: Floats
    fold: Integers


def align(candidates: Sequence[Candidate]) -> Record:
    """Put the records of one ticker's candidates side by side.

    Raises:
        UnusableCandidates: they share no bar, or a bar is in different folds (`folds_differ`), so that there is no one
            past to calibrate on.
    """
    where = candidates[0].ticker
    event_time = reduce(np.intersect1d, (candidate.event_time for candidate in candidates))
    rows = [np.searchsorted(candidate.event_time, event_time) for candidate in candidates]
    folds = [candidate.fold[row] for candidate, row in zip(candidates, rows, strict=True)]
    if not len(event_time):
        message = "The candidates' out-of-fold records have no bar in common; take survivors of one search."
        raise UnusableCandidates([Reason(code="no_common_bars", where=where, message=message)])
    if any(not np.array_equal(fold, folds[0]) for fold in folds):
        message = "The candidates were split into folds in different ways; take survivors of one search."
        raise UnusableCandidates([Reason(code="folds_differ", where=where, message=message)])
    return Record(
        event_time=event_time,
        prediction=np.column_stack([c.prediction[row] for c, row in zip(candidates, rows, strict=True)]),
        target=candidates[0].target[rows[0]],
        fold=folds[0],
    )


class EnsembleAssembler:
    """Assembles versions and keeps what they are made of in `artifacts`; the manifest is kept there too."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def assemble(self, draft: EnsembleDraft) -> Assembled:
        """Make a version of the draft; the same draft always gives the same digest.

        A majority needs no margin, so that the thresholds of a hard vote are 0.

        Raises:
            UnusableCandidates: with every fault that was found.
        """
        if faults := tuple(_faults(draft)):
            raise UnusableCandidates(faults)
        soft = draft.voting == "soft"
        threshold, exit_threshold = (draft.threshold, draft.exit_threshold) if soft else (0.0, 0.0)
        records: dict[tuple[str, str], MemberRecord] = {}
        tickers: dict[str, TickerRules] = {}
        scores: dict[str, tuple[Times, Floats]] = {}
        for ticker in dict.fromkeys(candidate.ticker for candidate in draft.candidates):
            voters = [candidate for candidate in draft.candidates if candidate.ticker == ticker]
            record = align(voters)
            rules = Rules(
                voting=draft.voting,
                threshold=threshold,
                cost=draft.cost[ticker],
                min_edge_bps=draft.min_edge_bps,
                weight=np.ones(len(voters)),
                calibration=draft.calibration,
            )
            reach = draft.terms.delay + draft.terms.horizon
            calibrated = calibrate_finally(record.prediction, record.target, record.fold, rules, reach=reach)
            if calibrated is None:
                message = "There is no bar that every candidate predicted; leave out the one with the gaps."
                raise UnusableCandidates([Reason(code="no_record", where=ticker, message=message)])
            calibration, score = calibrated
            scores[ticker] = (record.event_time, score)
            tickers[ticker] = ticker_rules(
                calibration,
                self._artifacts,
                cost=draft.cost[ticker],
                data_hash=draft.data_hash[ticker],
                ranges=draft.ranges.get(ticker),
                profile=self._profile(draft, ticker),
            )
            for voter, member in zip(voters, calibration.members, strict=True):
                reference = self._artifacts.put_array(member.reference)
                records[voter.trial, ticker] = MemberRecord(reference=reference, reliability=knots(member.reliability))
        manifest = EnsembleManifest(
            ensemble=draft.ensemble,
            experiment=draft.experiment,
            algorithm=draft.algorithm,
            timeframe=draft.timeframe,
            target_transform=draft.terms.transform,
            horizon=draft.terms.horizon,
            execution=draft.terms.execution,
            session_policy=draft.terms.session_policy,
            calendar=draft.calendar,
            trained_through=draft.trained_through,
            voting=draft.voting,
            calibration=draft.calibration,
            threshold=threshold,
            exit_threshold=exit_threshold,
            min_edge_bps=draft.min_edge_bps,
            members=tuple(
                self._member(name, candidate, records[candidate.trial, candidate.ticker])
                for name, candidate in zip(_names(draft.candidates), draft.candidates, strict=True)
            ),
            tickers=tickers,
        )
        digest = self._artifacts.put(manifest.content())
        return Assembled(manifest.document(), digest, threshold, exit_threshold, scores)

    def _profile(self, draft: EnsembleDraft, ticker: str) -> str | None:
        profile = draft.profiles.get(ticker)
        return None if profile is None else self._artifacts.put(profile.dump())

    def _member(self, name: str, candidate: Candidate, record: MemberRecord) -> Member:
        return Member(
            member=name,
            trial=candidate.trial,
            fingerprint=candidate.fingerprint,
            metric=candidate.metric,
            configuration=dict(candidate.configuration),
            artifact=self._artifacts.put(candidate.predictor.dump()),
            weight=1.0,
            feature_names=candidate.predictor.feature_names,
            records={candidate.ticker: record},
            probe=probe_of(candidate.predictor, candidate.probe),
        )


def _names(candidates: Sequence[Candidate]) -> list[str]:
    """What members are called: as their trials; those of one trial on several tickers are numbered."""
    places: dict[str, list[str]] = {}
    for candidate in candidates:
        places.setdefault(candidate.trial, []).append(candidate.ticker)
    return [
        each.trial if len(tickers := places[each.trial]) == 1 else f"{each.trial}-{tickers.index(each.ticker) + 1}"
        for each in candidates
    ]


def _faults(draft: EnsembleDraft) -> Iterator[Reason]:
    if not draft.candidates:
        yield Reason(code="no_candidates", where=draft.ensemble, message="No survivor is left to vote.")
    for (trial, ticker), count in Counter((each.trial, each.ticker) for each in draft.candidates).items():
        if count > 1:
            message = f"It stands {count} times on {ticker}; name it once."
            yield Reason(code="repeated_candidate", where=trial, message=message)
    for ticker in dict.fromkeys(candidate.ticker for candidate in draft.candidates):
        for name, known in (("cost", draft.cost), ("data_hash", draft.data_hash)):
            if ticker not in known:
                yield Reason(code="missing_term", where=ticker, message=f"The draft has no {name} for this ticker.")
    for candidate in draft.candidates:
        probe = candidate.probe[:PROBE_ROWS]
        if not len(probe) or not np.isfinite(candidate.predictor.predict(probe)).all():
            message = "Its predictions on the probe rows are not finite; give rows of finite features."
            yield Reason(code="unusable_probe", where=candidate.trial, message=message)


def ticker_rules(
    calibration: TickerCalibration,
    artifacts: Artifacts,
    *,
    cost: float,
    data_hash: str,
    ranges: Mapping[str, tuple[float, float]] | None,
    profile: str | None,
) -> TickerRules:
    """How a ticker's votes become a score, as a manifest has it."""
    reference, reliability = calibration.reference, calibration.reliability
    return TickerRules(
        cost=cost,
        data_hash=data_hash,
        reference=None if reference is None else artifacts.put_array(reference),
        reliability=None if reliability is None else knots(reliability),
        calibration_id=calibration.calibration_id,
        ranges=None if ranges is None else dict(ranges),
        profile=profile,
    )


def probe_of(predictor: FittedPredictor, features: Floats) -> Probe:
    """A few feature rows (k, f), and what the predictor says of them."""
    rows = features[:PROBE_ROWS]
    return Probe(features=tuple(map(tuple, rows.tolist())), prediction=tuple(predictor.predict(rows).tolist()))


def knots(reliability: Reliability) -> Knots:
    """A curve as a manifest has it."""
    return Knots(strength=tuple(reliability.strength.tolist()), chance=tuple(reliability.chance.tolist()))

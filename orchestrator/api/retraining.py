"""How an ensemble is trained anew, as every face tells it: shapes, and how they are filled."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.api.ports import Faces
from orchestrator.api.reading import NotFound
from orchestrator.api.views import VersionLine, View
from orchestrator.core import promotion
from orchestrator.core.arrays import Floats
from orchestrator.core.calendar import calendar_named
from orchestrator.core.drift import Profile
from orchestrator.core.errors import Refused
from orchestrator.core.lifecycle import State
from orchestrator.core.performance import Account
from orchestrator.core.retraining import faults, fires, in_the_way, postponed
from orchestrator.core.versions import VersionState
from orchestrator.store import books, ensembles, evidence, experiments, listing, looking, retraining
from orchestrator.store.ensembles import Version
from orchestrator.store.evidence import Case
from orchestrator.store.retraining import StandingPolicy, Trigger
from orchestrator.store.tables import RequestOutcome
from schemas.base import Instant, JsonObject, Reason
from schemas.ensembles import EnsembleEvent, EnsemblePerformance
from schemas.envelope import Undecodable, decode
from schemas.policies import Policy, PromotionRule
from schemas.retraining import DetectorReading, DetectorsRead, RetrainingEvent
from schemas.topics import ENSEMBLE_EVENTS, RETRAINING_EVENTS

MOST_TRIGGERS = 20
MOST_EVENTS = 300
"""Of each topic that are looked at; figures that are told again and again are left out of what is shown."""
WEEK_HOURS = 168.0

Told = EnsembleEvent | RetrainingEvent


class PolicyView(View):
    """When an ensemble is trained anew."""

    ensemble: str
    policy: Policy
    command_id: str
    """That set it."""
    set_at: Instant


class ReadingView(View):
    """What a detector reads, and how near its rule is to firing."""

    reading: DetectorReading
    fires: bool
    nearness: float | None
    """From 0 to 1, where it fires; null: there is not enough to tell."""


class TriggerView(View):
    """A rule that fired, and what became of the request that it made."""

    request_id: str
    version: int
    """The one whose successor it asked for."""
    kind: str
    cause: JsonObject
    joined: tuple[JsonObject, ...]
    """What came inside its cool-down."""
    trials: int
    fired_at: Instant
    outcome: RequestOutcome | None
    """Of the request; null: it has not come in yet."""
    experiment: str | None
    state: State | None
    """Of the experiment."""
    reasons: tuple[Reason, ...]
    """Why the request was turned down, or the experiment failed."""
    became: int | None
    """The version that came of it."""
    became_state: VersionState | None


class Book(View):
    """What following one version's own signals has earned."""

    version: int
    sessions: tuple[Instant, ...]
    """Closes of those that are settled."""
    profit: tuple[float, ...]
    """After costs, by session, as a share of the stake."""
    net_sharpe: float | None
    hit_rate: float | None
    net_return: float


class ChallengerView(View):
    """The version on trial, beside the champion."""

    version: VersionLine
    canary: tuple[str, ...]
    """Instruments that it is heard on."""
    books: tuple[Book, ...]
    """The champion's and its own, as far as there are any."""
    paired: int
    """Sessions that both have settled, by which they are compared."""
    next_look: int | None
    """Sessions at which it is looked at next; null: all looks were taken, or no rule looks."""
    beyond: float
    """What it has earned beyond the champion in those, as a share of the stake."""
    better: float | None
    """The probability that it earns more; null: there is not enough to tell."""


class Retraining(View):
    """How an ensemble is trained anew, and how near it is to it."""

    ensemble: str
    serving_version: int | None
    policy: PolicyView | None
    readings: tuple[ReadingView, ...]
    """Nearest first."""
    held_back: tuple[Reason, ...]
    """Why what fires now would join the newest trigger, or would wait."""
    trials_today: int
    """That were triggered within the last 24 hours."""
    triggers: tuple[TriggerView, ...]
    """Newest first."""
    challenger: ChallengerView | None


async def of_ensemble(faces: Faces, name: str) -> Retraining:
    """How an ensemble is trained anew.

    Raises:
        NotFound: there is none of that name.
    """
    now = faces.clock()
    async with faces.database.snapshot() as tx:
        versions = await ensembles.versions(tx, name)
        if not versions:
            raise NotFound("ensemble", name)
        policy = await retraining.policy_of(tx, name)
        case = await evidence.gather(tx, name, now)
        triggers = [await _trigger(tx, each, versions) for each in await retraining.triggered(tx, name, MOST_TRIGGERS)]
        accounts = await books.of(tx, name)
    serving = ensembles.serving_of(versions)
    challenger = next((each for each in versions if each.state is VersionState.SHADOWING), None)
    profiles = {} if case is None else await faces.profiles.of(name, case.champion.version, case.champion.manifest)
    # A calendar takes a moment to be built the first time.
    readings = () if case is None else await asyncio.to_thread(_readings, case, profiles, now)
    return Retraining(
        ensemble=name,
        serving_version=None if serving is None else serving.version,
        policy=None if policy is None else viewed(policy),
        readings=readings,
        held_back=() if case is None else await asyncio.to_thread(_held_back, case, now),
        trials_today=0 if case is None else case.trials_today,
        triggers=tuple(triggers),
        challenger=None
        if challenger is None
        else await asyncio.to_thread(_challenger, challenger, serving, accounts, policy),
    )


async def policies(faces: Faces) -> tuple[PolicyView, ...]:
    """Every policy, by ensemble."""
    async with faces.database.snapshot() as tx:
        return tuple(viewed(each) for each in (await retraining.standing(tx)).values())


async def policy_of(faces: Faces, name: str) -> PolicyView:
    """An ensemble's policy.

    Raises:
        NotFound: there is no such ensemble, or it has none.
    """
    async with faces.database.snapshot() as tx:
        found = await retraining.policy_of(tx, name)
        known = found is not None or await ensembles.states(tx, name)
    if found is None:
        raise NotFound("policy", f"of {name}") if known else NotFound("ensemble", name)
    return viewed(found)


async def judge_policy(faces: Faces, name: str, wanted: Policy) -> None:
    """Refuse a policy that an ensemble cannot have.

    Raises:
        NotFound: there is no such ensemble.
        Refused: with everything that is wrong.
    """
    async with faces.database.snapshot() as tx:
        versions = await ensembles.versions(tx, name)
    if not versions:
        raise NotFound("ensemble", name)
    about = ensembles.serving_of(versions) or versions[-1]
    calendar = await asyncio.to_thread(calendar_named, about.manifest["calendar"])
    if found := faults(wanted, about.tickers, calendar, faces.clock()):
        raise Refused(found)


async def story(faces: Faces, name: str) -> tuple[Told, ...]:
    """What was told of an ensemble's versions and its retraining, newest first, without figures."""
    async with faces.database.snapshot() as tx:
        kept = [
            (topic, at, value)
            for topic in (ENSEMBLE_EVENTS, RETRAINING_EVENTS)
            for at, value in await looking.told(tx, topic, name, MOST_EVENTS)
        ]
    found: list[tuple[datetime, int, Told]] = []
    for topic, at, value in kept:
        try:
            event: Told = decode(topic.messages, value)
        except Undecodable:
            # A newer version may tell of what this one does not know.
            continue
        if not isinstance(event, EnsemblePerformance | DetectorsRead):
            found.append((at, event.sequence, event))
    return tuple(event for *_, event in sorted(found, key=lambda each: each[:2], reverse=True))


def viewed(policy: StandingPolicy) -> PolicyView:
    """A policy as it is shown."""
    return PolicyView.model_validate(vars(policy))


def nearness(reading: DetectorReading, expected: float | None) -> float | None:
    """How near a reading is to firing, from 0 to 1; None: there is not enough to tell.

    Args:
        reading: of a detector.
        expected: the Sharpe ratio out of fold, from which performance is measured.
    """
    figure, threshold = reading.figure, reading.threshold
    if figure is None:
        return None
    match reading.detector:
        case "performance":
            way = max(expected or 0.0, threshold + 1e-9, figure) - threshold
            near = 1 - (figure - threshold) / way
        case "schedule":
            near = 1 - figure / WEEK_HOURS
        case _:
            near = figure / threshold if threshold > 0 else 1.0
    return min(1.0, max(0.0, near))


def _readings(case: Case, profiles: Mapping[str, Profile], now: datetime) -> tuple[ReadingView, ...]:
    expected = case.champion.verdict.sharpe_ratio
    found = [
        ReadingView(reading=each, fires=fires(case.policy.policy, each), nearness=nearness(each, expected))
        for each in case.readings(profiles, now)
    ]
    return tuple(sorted(found, key=lambda each: (each.fires, each.nearness or 0.0), reverse=True))


def _held_back(case: Case, now: datetime) -> tuple[Reason, ...]:
    known = case.evidence()
    reasons = (
        in_the_way(case.policy.policy, known, now),
        postponed(case.policy.policy, known, case.calendar, now),
    )
    return tuple(reason for reason in reasons if reason is not None)


async def _trigger(tx: AsyncSession, trigger: Trigger, versions: Sequence[Version]) -> TriggerView:
    asked = await listing.asked(tx, trigger.request_id)
    name = None if asked is None else asked.experiment
    search = None if name is None else await experiments.get(tx, name)
    became = next((each for each in versions if name is not None and each.experiment == name), None)
    return TriggerView(
        **{each: getattr(trigger, each) for each in TriggerView.model_fields if hasattr(trigger, each)},
        outcome=None if asked is None else asked.outcome,
        experiment=name,
        state=None if search is None else search.state,
        reasons=() if asked is None else asked.reasons or (() if search is None else search.reasons),
        became=None if became is None else became.version,
        became_state=None if became is None else became.state,
    )


def _challenger(
    version: Version, champion: Version | None, accounts: Mapping[int, Account], policy: StandingPolicy | None
) -> ChallengerView:
    own, other = accounts.get(version.version), None if champion is None else accounts.get(champion.version)
    difference = np.empty(0) if own is None or other is None else promotion.paired(other, own)
    rule = None if policy is None or not policy.policy.promotion.auto else policy.policy.promotion
    judged = None if rule is None else _judged(difference, rule, version)
    return ChallengerView(
        version=VersionLine.of(version),
        canary=version.canary,
        books=tuple(
            _book(each, accounts[each.version])
            for each in (champion, version)
            if each is not None and each.version in accounts
        ),
        paired=len(difference),
        next_look=judged.sessions if isinstance(judged, promotion.Wait) else None,
        beyond=float(difference.sum()),
        better=promotion.better(difference),
    )


def _judged(difference: Floats, rule: PromotionRule, version: Version) -> promotion.Judgement:
    """Where the rule is with a challenger, were the gate not asked."""
    judged = promotion.judge(difference, rule, passed=True)
    if isinstance(judged, promotion.Promote) and version.canary:
        return promotion.judge_canary(difference, judged.look * rule.sessions, rule)
    return judged


def _book(version: Version, account: Account) -> Book:
    figures = account.figures(calendar_named(version.manifest["calendar"]).sessions_per_year)
    sessions = sorted(account.profit)
    return Book(
        version=version.version,
        sessions=tuple(sessions),
        profit=tuple(account.profit[session] for session in sessions),
        net_sharpe=figures.net_sharpe,
        hit_rate=figures.hit_rate,
        net_return=figures.net_return,
    )

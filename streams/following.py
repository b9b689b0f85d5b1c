"""One search request's story, told from the events on Kafka alone."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from schemas.base import Message, Reason
from schemas.ensembles import EnsembleDeployed, EnsembleDeploying, EnsembleFailed
from schemas.envelope import decode
from schemas.experiments import (
    ExperimentAccepted,
    ExperimentCancelled,
    ExperimentCompleted,
    ExperimentDuplicate,
    ExperimentFailed,
    ExperimentRejected,
    ExperimentStarted,
    ExperimentWaiting,
    GatePassed,
    GateRefused,
    GateVerdict,
    SurvivorsSelected,
)
from schemas.retraining import ChallengerShadowing
from schemas.topics import (
    ENSEMBLE_EVENTS,
    EXPERIMENT_EVENTS,
    RETRAINING_EVENTS,
    SIGNALS_BY_MODE,
    TRIAL_EVENTS,
    Topic,
)
from schemas.trials import TrialCached, TrialCompleted, TrialFailed, TrialStoppedEarly
from streams.reader import TopicReader
from streams.source import Record

FOLLOWED: tuple[Topic, ...] = (EXPERIMENT_EVENTS, TRIAL_EVENTS, ENSEMBLE_EVENTS, RETRAINING_EVENTS)
SLACK = timedelta(seconds=5)
"""How far the clocks of who asks and of the service may be apart."""
_DEPLOYMENT = EnsembleDeploying | EnsembleDeployed | EnsembleFailed | ChallengerShadowing
_BY_NAME = {topic.name: topic for topic in FOLLOWED}


def event_of(record: Record) -> Message:
    """Decode a record of one of the followed topics.

    Raises:
        Undecodable: it is none of the topic's messages.
    """
    event: Message = decode(_BY_NAME[record.topic].messages, record.value)
    return event


@dataclass
class RequestStory:
    """What has become of one request so far.

    Attributes:
        deploys: the request asks for a deployment, so the story goes on after the gate.
        since: when it was sent, if it was just now: a rejection before that is of a message under its id that was
            mended since.
    """

    request_id: str
    deploys: bool
    since: datetime | None = None
    experiment: str | None = None
    trials: int = 0
    scored: int = 0
    failed: int = 0
    best: float | None = None
    deflated_sharpe: float | None = None
    survivors: int = 0
    verdict: GateVerdict | None = None
    deployed: EnsembleDeployed | None = None
    reasons: tuple[Reason, ...] = ()
    ended: bool = False
    succeeded: bool = False
    _seen: set[tuple[str, str, int]] = field(default_factory=set, repr=False)
    _early: list[Message] = field(default_factory=list, repr=False)
    _deploying: tuple[str, int] | None = None
    _searched: bool = False

    def apply(self, event: Message) -> list[str]:
        """Take one event in; the sentences that tell what it changed.

        Topics are not ordered among each other: what comes before the experiment's name is known is kept until it is.
        Events of other requests, and repeats of one already told, change nothing.
        """
        if self.experiment is None and getattr(event, "request_id", None) != self.request_id:
            self._early.append(event)
            return []
        if not self._is_mine(event) or self._is_repeat(event):
            return []
        sentence = self._tell(event)
        told = [sentence] if sentence else []
        if self.experiment is not None and self._early:
            early, self._early = self._early, []
            told += [line for each in early for line in self.apply(each)]
        return told

    def _tell(self, event: Message) -> str | None:
        match event:
            case TrialCompleted() | TrialCached() | TrialStoppedEarly():
                self._scored(event.metrics.get("sharpe_ratio"))
            case TrialFailed():
                self.failed += 1
                return f"trial {event.trial} failed: {_told(event.reasons)}"
            case ExperimentAccepted():
                self.experiment, self.trials = event.experiment, event.trials
                return f"accepted as {event.experiment}: {event.trials} trials on {', '.join(event.tickers)}"
            case ExperimentDuplicate():
                self.experiment = event.experiment
                # It has been resumed since.
                self._early = [
                    each
                    for each in self._early
                    if not (isinstance(each, ExperimentFailed | ExperimentCancelled) and each.sequence < event.sequence)
                ]
                return f"the same work is already under way as {event.experiment}: following it"
            case ExperimentRejected():
                return self._end(False, f"rejected: {_told(event.reasons)}", event.reasons)
            case ExperimentWaiting():
                return f"waits: {event.position} begin before it" if event.position else None
            case ExperimentStarted():
                self.trials = event.trials
                return f"started: {event.trials} trials"
            case ExperimentCompleted():
                self._searched = True
                self.best, self.deflated_sharpe = event.best, event.deflated_sharpe
                known = f", {event.cached} steps of training known before" if event.cached else ""
                return (
                    f"searched in {event.seconds:.1f} s: {event.finished} scored, {event.failed} failed{known}, "
                    f"best score {figure(event.best)}, not luck with probability {figure(event.deflated_sharpe)}"
                )
            case ExperimentFailed():
                return self._end(False, f"failed: {_told(event.reasons)}", event.reasons)
            case ExperimentCancelled():
                return self._end(False, "cancelled")
            case SurvivorsSelected():
                self.survivors = len(event.survivors)
                return f"{self.survivors} survivors selected, {len(event.passed_over)} better trials passed over"
            case GatePassed():
                self.verdict = event.verdict
                sentence = f"the gate passed it: not luck with probability {figure(event.verdict.deflated_sharpe)}"
                return sentence if self.deploys else self._end(True, sentence)
            case GateRefused():
                self.verdict = event.verdict
                listed = "".join(f"\n    - {reason.message}" for reason in event.verdict.reasons)
                if event.verdict.overridden and self.deploys:
                    return f"the gate refused it, and it is deployed all the same, as the request asks:{listed}"
                if not self.deploys:
                    sentence = f"the gate would refuse it; nothing was asked to be deployed:{listed}"
                    return self._end(True, sentence, event.verdict.reasons)
                advice = "\n    nothing is deployed; with deploy.gate false, GATE_OVERRIDE says what it may do"
                return self._end(False, f"the gate refused it:{listed}{advice}", event.verdict.reasons)
            case EnsembleDeploying():
                return f"deploying version {event.version} of {event.ensemble}"
            case EnsembleDeployed():
                self.deployed = event
                return self._end(True, told_of(event))
            case ChallengerShadowing():
                return self._end(True, told_of(event))
            case EnsembleFailed():
                return self._end(False, f"deployment failed: {_told(event.reasons)}", event.reasons)
        return None

    @property
    def heard(self) -> int:
        """How many events of the request have been told."""
        return len(self._seen)

    @property
    def best_so_far(self) -> str:
        """The best Sharpe ratio of a scored trial, in words."""
        return "" if self.best is None else f"best Sharpe {figure(self.best)}"

    def _scored(self, sharpe: float | None) -> None:
        self.scored += 1
        # Once the search is over its own word counts, also where a trial's comes later.
        if not self._searched and sharpe is not None and (self.best is None or sharpe > self.best):
            self.best = sharpe

    def _end(self, succeeded: bool, sentence: str, reasons: tuple[Reason, ...] = ()) -> str:
        self.ended, self.succeeded, self.reasons = True, succeeded, reasons
        return sentence

    def _is_mine(self, event: Message) -> bool:
        if not self.deploys and isinstance(event, _DEPLOYMENT):
            return False
        if isinstance(event, EnsembleFailed):
            return self._deploying == (event.ensemble, event.version)
        request = getattr(event, "request_id", None)
        experiment = getattr(event, "experiment", None)
        if isinstance(event, ExperimentRejected) and self.since is not None and event.emitted_at < self.since - SLACK:
            return False
        mine = request == self.request_id or (experiment is not None and experiment == self.experiment)
        if mine and isinstance(event, EnsembleDeploying):
            self._deploying = (event.ensemble, event.version)
        return mine

    def _is_repeat(self, event: Message) -> bool:
        key = getattr(event, "ensemble", None) or getattr(event, "experiment", None) or self.request_id
        mark = (type(event).__module__, str(key), int(getattr(event, "sequence", 0)))
        repeated = mark in self._seen
        self._seen.add(mark)
        return repeated


def _told(reasons: tuple[Reason, ...]) -> str:
    return "; ".join(map(str, reasons)) or "no reason given"


def told_of(event: EnsembleDeployed | ChallengerShadowing) -> str:
    """Which version answers, and where."""
    if isinstance(event, ChallengerShadowing):
        beside = f"beside version {event.serving_version}, on {SIGNALS_BY_MODE['shadow'].name}"
        return f"version {event.version} of {event.ensemble} is on trial {beside}, with {event.members} members"
    answers = f"answers live ticks on {SIGNALS_BY_MODE[event.mode].name} with {event.members} members"
    return f"version {event.version} of {event.ensemble} {answers}"


def figure(value: float | None) -> str:
    """A figure for people: two digits, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.2f}"


def opened(config: dict[str, Any], since: datetime) -> tuple[TopicReader, TopicReader]:
    """Readers of all that a request's story is told on.

    Trials are followed from `since` on. What tells of experiments and ensembles is little, and read from its beginning:
    the request may have been sent before, and have ended long ago.
    """
    told = [EXPERIMENT_EVENTS, ENSEMBLE_EVENTS, RETRAINING_EVENTS]
    return TopicReader(config, told), TopicReader(config, [TRIAL_EVENTS], since=since)

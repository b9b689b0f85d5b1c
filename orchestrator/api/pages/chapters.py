"""What happened to an ensemble's retraining, chapter by chapter: pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.api.causes import caused
from orchestrator.api.pages.look import words
from orchestrator.api.retraining import Retraining, Told, TriggerView
from orchestrator.store.tables import RequestOutcome
from schemas.base import Reason
from schemas.ensembles import (
    EnsembleDeleted,
    EnsembleDeployed,
    EnsembleDeploying,
    EnsembleFailed,
    EnsembleRolledBack,
)
from schemas.retraining import ChallengerCanary, ChallengerPromoted, ChallengerRetired, ChallengerShadowing


@dataclass(frozen=True)
class Chapter:
    """Something that happened.

    Attributes:
        at: when.
        title: what it was.
        tone: of a pill.
        text: what there is to say of it.
        link: where there is more; None: nowhere.
        reference: the link's text.
    """

    at: datetime
    title: str
    tone: str
    text: str = ""
    link: str | None = None
    reference: str = ""


def chapters(found: Retraining, told: Sequence[Told]) -> list[Chapter]:
    """What was triggered, and what became of versions, newest first."""
    triggered = [_triggered(each) for each in found.triggers]
    happened = [chapter for event in told if (chapter := _of(event)) is not None]
    return sorted([*triggered, *happened], key=lambda each: each.at, reverse=True)


def _triggered(trigger: TriggerView) -> Chapter:
    joined = f"; {_times(len(trigger.joined))} since, joined" if trigger.joined else ""
    text = f"{caused(trigger.cause)}{joined}. {_because(_became(trigger), trigger.reasons)}"
    link = None if trigger.experiment is None else f"/experiments/{trigger.experiment}"
    tone = "bad" if trigger.outcome is RequestOutcome.REJECTED or trigger.reasons else "warn"
    return Chapter(trigger.fired_at, "triggered", tone, text, link, trigger.experiment or "")


def _became(trigger: TriggerView) -> str:
    if trigger.became is not None and trigger.became_state is not None:
        return f"It became version {trigger.became}, {words(trigger.became_state)}"
    if trigger.outcome is None:
        return f"Request {trigger.request_id} is on its way"
    if trigger.state is None:
        return f"Request {trigger.request_id} was {trigger.outcome}"
    return f"Its search is {words(trigger.state)}"


def _of(event: Told) -> Chapter | None:
    """The chapter that an event is; None: another one tells as much."""
    at, version = event.emitted_at, f"version {event.version}"
    match event:
        case ChallengerShadowing():
            text = f"{version} answers the champion's ticks on signals.shadow"
            return Chapter(at, "challenger in shadow", "accent", text)
        case ChallengerCanary(tickers=()):
            return Chapter(at, "canary over", "warn", _because(f"{version} is heard nowhere any more", event.reasons))
        case ChallengerCanary():
            heard = f"{version} is heard on {', '.join(event.tickers)}"
            return Chapter(at, "canary", "accent", _because(heard, event.reasons))
        case ChallengerPromoted():
            return Chapter(at, "promoted", "good", _because(f"{version} is to be the champion", event.reasons))
        case ChallengerRetired():
            return Chapter(at, "retired", "quiet", _because(f"{version} answers no more", event.reasons))
        case EnsembleDeployed():
            return Chapter(at, "serves", "good", f"{version}, {event.mode}, {event.members} members")
        case EnsembleRolledBack():
            back = f"from {version} to version {event.serving_version}"
            return Chapter(at, "rolled back", "bad", _because(back, event.reasons))
        case EnsembleFailed():
            return Chapter(at, "failed", "bad", _because(version, event.reasons))
        case EnsembleDeleted():
            return Chapter(at, "deleted", "bad", f"{version} served last")
        case EnsembleDeploying():
            return None
    return None


def _because(text: str, reasons: Sequence[Reason]) -> str:
    """What happened, and why."""
    return f"{text}: {_said(reasons)}" if reasons else text


def _said(reasons: Sequence[Reason]) -> str:
    return "; ".join(reason.message for reason in reasons)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def common(books: Sequence[tuple[Sequence[datetime], Sequence[float]]]) -> Iterator[list[float]]:
    """Of several books, each one's profit in the sessions that all of them have, without the first, oldest first.

    One of them may have begun in the middle of that.
    """
    shared = sorted(set.intersection(*(set(sessions) for sessions, _ in books)))[1:] if books else []
    for sessions, profit in books:
        by_session = dict(zip(sessions, profit, strict=True))
        yield [by_session[session] for session in shared]

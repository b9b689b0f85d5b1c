"""Going on with an experiment that was broken off: whether that may be, and which of its trials run."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.core.lifecycle import RESUMABLE, SEARCHING, State
from schemas.base import Reason


@dataclass(frozen=True)
class Resuming:
    """What may be gone on with."""

    unfinished: bool = True
    """Experiments that failed or were cancelled."""
    errored: bool = True
    """Their trials that failed, besides those that did not end."""


EVERYTHING = Resuming()


class Tried(Protocol):
    """A trial."""

    @property
    def trial(self) -> str:
        """Its name."""

    @property
    def tickers(self) -> tuple[str, ...]:
        """It is tried on."""

    @property
    def parent(self) -> str | None:
        """The trial that it is a clone of."""

    @property
    def created_at(self) -> datetime:
        """When it was planned."""

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""


def refusal(name: str, state: State, *, judged: bool, resuming: Resuming) -> Reason | None:
    """Why an experiment cannot be gone on with; None: it can.

    Args:
        name: of the experiment.
        state: where it stands.
        judged: the gate has spoken: what failed then was the deployment, not the search.
        resuming: what may be.
    """
    if state in SEARCHING:
        return Reason(code="under_way", message=f"{name} is {state} already, and needs no resuming")
    if state not in RESUMABLE or judged:
        return Reason(code="nothing_to_resume", message=f"the search of {name} has ended ({state}): its results stand")
    if not resuming.unfinished:
        return Reason(code="resuming_is_off", message="TUNE_RESUME_UNFINISHED is off: experiments are not gone on with")
    return None


def run_again(failed: Iterable[Tried], trials: Iterable[Tried]) -> list[str]:
    """Which failed trials run again: all, but those whose population has gone on to a next generation without them.

    What was bred there would otherwise have had other parents.
    """
    bred = [(trial.tickers, trial.created_at) for trial in trials if trial.parent is not None]
    return [
        each.trial
        for each in failed
        if each.finished_at is not None
        and not any(tickers == each.tickers and born >= each.finished_at for tickers, born in bred)
    ]

"""An experiment's life: its states, and which may follow which."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where an experiment stands; `LINE` has the order of those that lead to a deployment."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    RUNNING = "running"
    SEARCHED = "searched"
    SELECTED = "selected"
    """Survivors are known; the end of an experiment that does not deploy by itself."""
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    REFUSED = "refused"
    """The gate did not let the ensemble through."""
    FAILED = "failed"
    CANCELLED = "cancelled"


LINE = (
    State.ACCEPTED,
    State.WAITING,
    State.RUNNING,
    State.SEARCHED,
    State.SELECTED,
    State.DEPLOYING,
    State.DEPLOYED,
)

SEARCHING = frozenset({State.ACCEPTED, State.WAITING, State.RUNNING, State.SEARCHED})
"""The search is under way: an identical request attaches to it."""

RESUMABLE = frozenset({State.FAILED, State.CANCELLED})
"""Broken off: the search may be gone on with."""
_FOLLOWERS: Mapping[State, frozenset[State]] = {
    State.ACCEPTED: RESUMABLE | {State.WAITING},
    State.WAITING: RESUMABLE | {State.RUNNING},
    State.RUNNING: RESUMABLE | {State.SEARCHED},
    State.SEARCHED: RESUMABLE | {State.SELECTED},
    State.SELECTED: RESUMABLE | {State.REFUSED, State.DEPLOYING},
    # A version that is being deployed is no longer the experiment's to cancel: deleting the ensemble ends it.
    State.DEPLOYING: frozenset({State.DEPLOYED, State.FAILED}),
    State.DEPLOYED: frozenset(),
    State.REFUSED: frozenset(),
    State.FAILED: frozenset({State.ACCEPTED}),
    State.CANCELLED: frozenset({State.ACCEPTED}),
}


class IllegalTransition(Exception):
    """An experiment in `state` was to become `wanted`, which may not follow it."""

    def __init__(self, state: State, wanted: State) -> None:
        super().__init__(state, wanted)
        self.state = state
        self.wanted = wanted

    def __str__(self) -> str:
        followers = ", ".join(sorted(allowed(self.state))) or "nothing"
        return f"an experiment that is {self.state} cannot become {self.wanted}; what may follow is {followers}"


def allowed(state: State) -> frozenset[State]:
    """The states that may follow `state`."""
    return _FOLLOWERS[state]


def advance(state: State, wanted: State) -> State:
    """`wanted`, if it may follow `state`.

    Raises:
        IllegalTransition: it may not.
    """
    if wanted not in allowed(state):
        raise IllegalTransition(state, wanted)
    return wanted


def is_final(state: State, *, deploys: bool) -> bool:
    """True where nothing more happens by itself; `deploys` says that the request asked for a deployment."""
    return not allowed(state) or state in RESUMABLE or (state is State.SELECTED and not deploys)

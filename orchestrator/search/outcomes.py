"""What becomes of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.core.arrays import Floats, Integers
from schemas.base import Reason


@dataclass(frozen=True)
class Started:
    """A worker took the trials up."""

    trials: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Scored:
    """A trial's final score and its out-of-fold record; not eligible for the `reasons`, it is never selected."""

    trial: str
    metrics: Mapping[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...]
    prediction: Floats
    """(n_oof,) in the order of the folds."""
    session_ids: Integers
    """(n_sessions,) the sessions that count, ascending."""
    session_profit: Floats
    """(n_sessions,) net, flat sessions included."""
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A trial that ended without a score."""

    trial: str
    reasons: tuple[Reason, ...]
    seconds: float


Outcome = Started | Scored | Failed

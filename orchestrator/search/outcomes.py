"""What becomes of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.core.arrays import Floats, Integers
from orchestrator.search.plan import PlannedTrial, State
from orchestrator.search.streamed import Kept
from schemas.base import Reason


@dataclass(frozen=True)
class Planned:
    """The trials will be run."""

    trials: tuple[PlannedTrial, ...]


@dataclass(frozen=True)
class Started:
    """A worker took the trials up."""

    trials: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Earned:
    """Net profit on one ticker: `session_ids` (n_sessions,) ascending, `profit` beside it, flat sessions included."""

    ticker: str
    session_ids: Integers
    profit: Floats


@dataclass(frozen=True, eq=False)
class Scored:
    """A trial's score after a step, and its out-of-fold record; ineligible for the `reasons`, it is never selected."""

    trial: str
    step: int
    budget: int | None
    """Until which it has been trained."""
    last: bool
    """This is its final score."""
    metrics: Mapping[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...]
    prediction: Floats | Kept
    """(n_oof,) one ticker after the other, each in the order of the folds."""
    earned: tuple[Earned, ...]
    """By ticker, in the trial's order."""
    seconds: float
    """Of this step."""
    training: float = 0.0
    """Seconds of it spent in fits and predictions."""
    state: State | None = None
    """Its predictors, where another step may go on from them."""
    fingerprint: str = ""
    """The step's."""

    @property
    def whole(self) -> bool:
        """Whether it may be a final score: whoever is trained in the same way is trained in full."""
        return self.last or self.budget is None


@dataclass(frozen=True)
class Known:
    """A trial's score after a step that nobody has to train: that of a step with the same fingerprint.

    The other fields are as of `Scored`.
    """

    trial: str
    step: int
    budget: int | None
    last: bool
    metrics: Mapping[str, float | None]
    eligible: bool
    reasons: tuple[Reason, ...]
    recorded_by: str
    """The experiment that trained it, and next its trial."""
    recorded_trial: str


@dataclass(frozen=True)
class Failed:
    """A trial that ended without a score."""

    trial: str
    reasons: tuple[Reason, ...]
    seconds: float


@dataclass(frozen=True)
class GivenUp:
    """Trials that are stopped early: others promise more."""

    trials: tuple[str, ...]


Outcome = Planned | Started | Scored | Known | Failed | GivenUp

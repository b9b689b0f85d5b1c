"""What a search hands over for an ensemble to be assembled, and what it gets back.

Search and serving both speak these words, and neither imports the other: the composition root joins them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from orchestrator.core.arrays import Floats, Integers, Times
from orchestrator.core.dataset import Terms
from orchestrator.core.drift import Profile
from schemas.base import JsonObject, Scalar, Voting

Calibration = Literal["out_of_fold", "none"]


class FittedPredictor(Protocol):
    """The part of a predictor that assembling needs."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that `predict` takes, in order."""
        ...

    def predict(self, features: Floats) -> Floats:
        """Predicted return, (n,), of feature rows (n, f)."""
        ...

    def dump(self) -> bytes:
        """What the algorithm's `load` turns back into an equal predictor; the same predictor gives the same bytes."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A survivor on one ticker, refitted on everything before the hold-out, with its out-of-fold record.

    The arrays of the record are of one length and ascend by `event_time`; folds are expanding, so that a later one has
    the larger number.
    """

    trial: str
    ticker: str
    configuration: Mapping[str, Scalar]
    metric: float
    fingerprint: str
    predictor: FittedPredictor
    event_time: Times
    """(n_oof,) bar closes, UTC."""
    prediction: Floats
    """(n_oof,) predicted return, in the units of the target."""
    target: Floats
    """(n_oof,) what came true; NaN where unknown."""
    fold: Integers
    """(n_oof,) number of the fold whose test rows hold the bar."""
    probe: Floats
    """(k, f) a few finite feature rows in the predictor's order: whoever loads the predictor must find its predictions
    on them again."""


@dataclass(frozen=True)
class EnsembleDraft:
    """Everything an ensemble version is made of, before it is calibrated and written down.

    Members vote in the order of `candidates`; a candidate votes on its own ticker only. How a version is heard (live,
    shadow, paper) is not part of it: promoting one changes nothing inside.
    """

    ensemble: str
    experiment: str
    algorithm: str
    timeframe: str
    terms: Terms
    calendar: str
    candidates: tuple[Candidate, ...]
    voting: Voting
    threshold: float
    """Of soft voting; a majority needs no margin."""
    exit_threshold: float
    cost: Mapping[str, float]
    """By ticker, of a change of position by one unit, as a fraction (2 bps is 0.0002)."""
    trained_through: datetime
    """Event time of the last bar that any member was trained on, UTC."""
    data_hash: Mapping[str, str]
    """By ticker, SHA-256 of the bars."""
    ranges: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """By ticker and feature, the least and the largest value that a member was trained on; absent: not known."""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    """By ticker, how the features of training were distributed; absent: drift cannot be told."""
    min_edge_bps: float = 0.0
    """A member whose predicted return is not above this, in either direction, says HOLD."""
    calibration: Calibration = "out_of_fold"
    """none: a soft vote's weighted mean is the score itself."""


@dataclass(frozen=True)
class Assembled:
    """A version that can be deployed, and what it would have said out of fold."""

    manifest: JsonObject
    digest: str
    """SHA-256 of the manifest's canonical JSON."""
    threshold: float
    exit_threshold: float
    """The two as the manifest has them, for the position function."""
    scores: Mapping[str, tuple[Times, Floats]]
    """By ticker, event time and the ensemble's score after costs, each (n,): a fold's scores use the calibration of the
    folds before it only, so the first fold is NaN."""


class Assembler(Protocol):
    """Makes an ensemble version of a draft."""

    def assemble(self, draft: EnsembleDraft) -> Assembled:
        """Calibrate the members, store their predictors and write the manifest.

        Raises:
            Refused: the candidates cannot form an ensemble.
        """
        ...

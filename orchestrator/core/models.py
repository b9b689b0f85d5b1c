"""Registered models: files that were trained elsewhere, and whether some of them can vote together."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.core.dataset import Transform
from orchestrator.core.gate import Override
from schemas.base import AlgorithmName, Count, Digest, FeatureName, Instant, Mode, Name, Part, Reason, Ticker, Timeframe
from schemas.experiments import GateVerdict

Format = Literal["sealed", "xgboost", "lightgbm", "joblib"]
"""sealed: what this project's own algorithms write; xgboost: UBJ or JSON; lightgbm: its text."""

UNJUDGED = Reason(
    code="no_verdict",
    where="models",
    message="registered models have no lineage: how many others were tried before them is not known here, so that the "
    "gate cannot say whether they are luck",
)


class RegisteredModel(Part):
    """What the registry holds of a model file; its digest is its identity."""

    digest: Digest
    name: Name
    format: Format
    algorithm: AlgorithmName
    feature_names: Annotated[tuple[FeatureName, ...], Field(min_length=1)]
    """In the order in which it takes them."""
    tickers: Annotated[tuple[Ticker, ...], Field(min_length=1)]
    timeframe: Timeframe
    target_transform: Transform
    horizon: Annotated[Count, Field(ge=1)]
    """Bars that its prediction reaches ahead."""
    trained_through: Instant
    """Event time of the last bar that it was trained on."""
    registered_at: Instant

    @property
    def terms(self) -> tuple[str, str, int]:
        """Timeframe, transform and horizon: what those that vote together have in common."""
        return (self.timeframe, self.target_transform, self.horizon)


def at_odds(models: Sequence[RegisteredModel]) -> Iterator[Reason]:
    """Why models cannot form an ensemble."""
    first, digests, names = models[0], [each.digest for each in models], [each.name for each in models]
    for model in models:
        if model.terms != first.terms:
            yield terms_differ(model, first.terms, whose=first.name)
    for number, model in enumerate(models):
        if digests.index(model.digest) < number or names.index(model.name) < number:
            yield Reason(code="repeated_model", where=model.name, message="it is named twice: name it once")


def terms_differ(model: RegisteredModel, terms: tuple[str, str, int], *, whose: str) -> Reason:
    """Why a model does not fit one that predicts something else, or an ensemble that does."""
    own, others = (f"the {transform} of {bars} bars of {frame}" for frame, transform, bars in (model.terms, terms))
    message = f"it predicts {own}, {whose} {others}: what votes together predicts the same"
    return Reason(code="terms_differ", where=model.name, message=message)


def mode_without_verdict(asked: Mode, override: Override) -> Mode | None:
    """How a version that nobody has judged may be heard; None: it may not be deployed."""
    if override == "forbid":
        return None
    return "paper" if override == "paper" and asked == "live" else asked


def unjudged(required: float) -> GateVerdict:
    """The verdict on a version with registered models, which is deployed because the operator says so."""
    return GateVerdict(
        passed=False,
        deflated_sharpe=None,
        active_deflated_sharpe=None,
        trials=0,
        benchmark_sharpe=None,
        sharpe_ratio=None,
        sessions=0,
        required=required,
        overridden=True,
        reasons=(UNJUDGED,),
    )

"""What may be asked of a feature source."""

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from orchestrator.features import checks
from orchestrator.features.source import UnusableFeatures
from schemas.base import Ticker, Timeframe

_TICKER: TypeAdapter[str] = TypeAdapter(Ticker)
_TIMEFRAME: TypeAdapter[str] = TypeAdapter(Timeframe)


def is_ticker(name: str) -> bool:
    """Whether a ticker may be called so."""
    return _is_valid(_TICKER, name)


def is_timeframe(name: str) -> bool:
    """Whether a timeframe may be called so."""
    return _is_valid(_TIMEFRAME, name)


def check_asked(ticker: str, timeframe: str, start: datetime | None, end: datetime | None) -> None:
    """See to it that names are names, which may then become a path, and that a span is a span.

    Raises:
        UnusableFeatures: `ticker` or `timeframe` is none.
        ValueError: `start` or `end` is naive.
    """
    if any(bound is not None and bound.tzinfo is None for bound in (start, end)):
        raise ValueError("start and end must carry a UTC offset")
    faults = []
    if not is_ticker(ticker):
        faults.append(checks.fault("invalid_ticker", ticker, "No ticker is written like this."))
    if not is_timeframe(timeframe):
        message = "A timeframe is a number and one of s, m, h, d, w, such as 5m or 1d."
        faults.append(checks.fault("invalid_timeframe", timeframe, message))
    if faults:
        raise UnusableFeatures(faults)


def _is_valid(names: TypeAdapter[str], name: str) -> bool:
    try:
        names.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True

"""What makes a dataset unusable, judged on its columns; each function names every fault it finds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter, ValidationError

from orchestrator.core.arrays import Flags, Floats, Times
from orchestrator.core.lookahead import scaling
from schemas.base import FeatureName, Reason

EVENT_TIME = "event_time"
PRICES = ("open", "high", "low", "close")
VOLUME = "volume"
NOT_FEATURES = frozenset((EVENT_TIME, *PRICES, VOLUME))

_WHERE, _MESSAGE = 256, 4096
_FEATURE_NAME: TypeAdapter[str] = TypeAdapter(FeatureName)


def fault(code: str, where: str, message: str) -> Reason:
    """A reason that quotes foreign text (names of columns, of files): escaped where unprintable, cut to what fits."""
    return Reason(code=code, where=ascii(where)[1:-1][:_WHERE], message=ascii(message)[1:-1][:_MESSAGE])


def column_faults(names: Sequence[str], where: str) -> Iterator[Reason]:
    """Columns that are missing, and names that no feature can have."""
    present = f"The columns are: {', '.join(names)}."
    if EVENT_TIME not in names:
        yield fault("no_event_time", where, f"There is no column event_time. {present}")
    if "close" not in names:
        yield fault("no_close", where, f"There is no column close. {present}")
    if NOT_FEATURES.issuperset(names):
        yield fault("no_features", where, f"There is no feature column. {present}")
    for name in names:
        if name.startswith("__index_level_"):
            message = "This column is the index of a pandas frame, not a feature; write the frame with index=False."
            yield fault("pandas_index", _in(where, name), message)
        elif name not in NOT_FEATURES and not _is_feature_name(name):
            message = "A feature's name has letters, digits, _ and ., and begins with a letter or _; rename it."
            yield fault("feature_name", _in(where, name), message)


def time_faults(event_time: Times, where: str) -> Iterator[Reason]:
    """Bars without a time, out of order, or more than once."""
    missing = np.isnat(event_time)
    if missing.any():
        message = f"{np.count_nonzero(missing)} rows have no event_time; leave them out."
        yield fault("time_missing", where, message)
    times = event_time[~missing]
    backwards = np.diff(times) < np.timedelta64(0)
    if backwards.any():
        first = times[1:][backwards][0]
        message = f"{np.count_nonzero(backwards)} bars are older than the one before, first {first}Z; sort by time."
        yield fault("unsorted_bars", where, message)
    ordered = np.sort(times)
    repeats = ordered[1:][np.diff(ordered) == np.timedelta64(0)]
    if repeats.size:
        message = f"{repeats.size} bars repeat an event_time, first {repeats[0]}Z; keep one row for each bar."
        yield fault("duplicate_bars", where, message)


def price_faults(event_time: Times, columns: Mapping[str, Floats], where: str) -> Iterator[Reason]:
    """Prices that are not finite and above 0, volumes that are not finite or negative."""
    for name in PRICES:
        if name in columns:
            values = columns[name]
            bad = ~(np.isfinite(values) & (values > 0.0))
            if bad.any():
                message = f"{_count(event_time, bad)}; a price is a finite number above 0."
                yield fault("price_not_finite", _in(where, name), message)
    if VOLUME in columns:
        values = columns[VOLUME]
        bad = ~(np.isfinite(values) & (values >= 0.0))
        if bad.any():
            message = f"{_count(event_time, bad)}; a volume is a finite number of at least 0."
            yield fault("volume_not_finite", _in(where, VOLUME), message)


def feature_faults(event_time: Times, features: Mapping[str, Floats], where: str) -> Iterator[Reason]:
    """Features that are constant, or not finite; the rows of the warm-up are not among those given."""
    for name, values in features.items():
        bad = ~np.isfinite(values)
        if bad.any():
            message = f"{_count(event_time, bad)} after the warm-up; fill or leave out those rows, or the feature."
            yield fault("feature_not_finite", _in(where, name), message)
        elif len(values) > 1 and (values == values[0]).all():
            message = f"It is {values[0]:g} in all {len(values)} rows, and so says nothing; leave it out."
            yield fault("feature_constant", _in(where, name), message)


def scaling_faults(names: Iterable[str], stored: Callable[[str], Floats], where: str) -> Iterator[Reason]:
    """Features that were scaled on all their values; `stored` gives them by name, one feature at a time."""
    for name in names:
        if (message := scaling(stored(name))) is not None:
            yield fault("scaled_on_the_whole_sample", _in(where, name), message)


def warm_up(features: Mapping[str, Floats]) -> int:
    """Number of leading rows before every feature has had a finite value.

    A feature that never has one does not count: it is a fault, not a warm-up.
    """
    finite = [np.isfinite(values) for values in features.values()]
    return max((int(np.argmax(known)) for known in finite if known.any()), default=0)


def _is_feature_name(name: str) -> bool:
    try:
        _FEATURE_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _count(event_time: Times, bad: Flags) -> str:
    return f"{np.count_nonzero(bad)} of {len(bad)} values are not, first at {event_time[bad][0]}Z"


def _in(where: str, name: str) -> str:
    return f"{where}/{name}"

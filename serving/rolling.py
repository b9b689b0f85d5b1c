"""Rolling: the distribution that a vote is calibrated by moves on with what is said live, session after session.

A version begins with its votes out of fold. Of `window` sessions that make up the distribution, each session that has
passed takes the place of one of those: after k of them F is (1 - k / window) F_out_of_fold + (k / window) F_live, and
after `window` it is that of the last `window` sessions alone. Within a session it does not change.
"""

import struct
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from orchestrator.core.calendar import is_intraday

DAILY_SESSIONS, INTRADAY_SESSIONS = 250, 20
MOST_VALUES = 128
"""Of a session that has more bars, each second, fourth, ... one is kept: what is remembered of a place is written with
each of its batches, and stays below 22 KB."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEAD = struct.Struct("<qqIHH")
_VALUE = 8


class Worth(NamedTuple):
    """What a score on one ticker is worth.

    Attributes:
        cost: of a change of position by one unit, as a fraction.
        strength: the knots of the chance that a score's direction is right, ascending; none: it is not known.
        chance: at each of them.
    """

    cost: float
    strength: tuple[float, ...] = ()
    chance: tuple[float, ...] = ()

    def chance_at(self, score: float) -> float | None:
        """`TickerCalibration.chance` of one score; None: it is not known."""
        if score == 0 or not self.strength:
            return None
        magnitude = abs(score)
        above = bisect_right(self.strength, magnitude)
        if above == 0 or above == len(self.strength):
            return self.chance[max(0, above - 1)]
        below = above - 1
        slope = (self.chance[above] - self.chance[below]) / (self.strength[above] - self.strength[below])
        return slope * (magnitude - self.strength[below]) + self.chance[below]


@lru_cache
def window_of(timeframe: str) -> int:
    """How many sessions make up the distribution for bars of a timeframe."""
    return INTRADAY_SESSIONS if is_intraday(timeframe) else DAILY_SESSIONS


@dataclass(frozen=True)
class Past:
    """What the votes of one session are calibrated by.

    Attributes:
        seed: the calibration id of the version.
        window: how many sessions make up the distribution.
        sessions: the raw votes of each live session before this one, at least one in each, as float64 in little-endian
            order; oldest first, at most `window`.
    """

    seed: str
    window: int
    sessions: tuple[bytes, ...] = ()

    def score(self, raw: float, seeded: float) -> float:
        """2 F(raw) - 1 in [-1, 1].

        Args:
            raw: the weighted mean of the votes.
            seeded: its score by the distribution out of fold.
        """
        live, share = self._live
        if not live:
            return seeded
        below = bisect_left(live, raw)
        upto = bisect_right(live, raw, below) if below < len(live) and live[below] == raw else below
        return (1.0 - share) * seeded + share * ((below + upto) / len(live) - 1.0)

    def then(self, session: bytes) -> "Past":
        """What the session after this one is calibrated by, which said `session`."""
        return Past(self.seed, self.window, (*self.sessions, session)[-self.window :])

    @cached_property
    def calibration_id(self) -> str:
        """The version's own until a live session has passed; then a digest of that and of every live value."""
        if not self.sessions:
            return self.seed
        return sha256(self.seed.encode() + b"|" + self.packed).hexdigest()[:16]

    @cached_property
    def packed(self) -> bytes:
        """How many values each session has, then the values."""
        counts = struct.pack(f"<{len(self.sessions)}H", *(len(each) // _VALUE for each in self.sessions))
        return counts + b"".join(self.sessions)

    @cached_property
    def _live(self) -> tuple[list[float], float]:
        """The live values, ascending, and their share of the distribution."""
        return np.sort(np.frombuffer(b"".join(self.sessions), dtype="<f8")).tolist(), len(self.sessions) / self.window


class Rolling(NamedTuple):
    """Where one place is: what the open session is calibrated by, and what it has said so far.

    Attributes:
        close: of the open session.
        newest: the newest bar that had a vote in it.
        bars: how many had.
        values: their raw votes, at most MOST_VALUES: of each `_step(bars)`-th bar.
    """

    past: Past
    close: datetime
    newest: datetime | None = None
    bars: int = 0
    values: tuple[float, ...] = ()

    @staticmethod
    def begun(seed: str, timeframe: str, close: datetime) -> "Rolling":
        """With the distribution out of fold alone, in the session that closes then."""
        return Rolling(Past(seed, window_of(timeframe)), close)

    def at(self, close: datetime) -> "Rolling":
        """In the session that closes then: this one, or a later one."""
        if close == self.close:
            return self
        past = self.past.then(struct.pack(f"<{len(self.values)}d", *self.values)) if self.values else self.past
        return Rolling(past, close)

    def with_vote(self, bar: datetime, raw: float) -> "Rolling":
        """After a bar's vote; a revision's takes the place of the one before it."""
        past, close, newest, bars, values = self
        if bar == newest:
            bars -= 1
            values = values[:-1] if bars % _step(bars + 1) == 0 else values
        elif bars >= MOST_VALUES and _step(bars + 1) > _step(bars):
            values = values[::2]
        if bars < MOST_VALUES or bars % _step(bars + 1) == 0:
            values += (raw,)
        return Rolling(past, close, bar, bars + 1, values)

    def dump(self) -> bytes:
        """All of it but the seed and the window."""
        past, close, newest, bars, values = self
        head = _HEAD.pack(_microseconds(close), _microseconds(newest or _EPOCH), bars, len(past.sessions), len(values))
        return head + past.packed + struct.pack(f"<{len(values)}d", *values)


def load_rolling(seed: str, timeframe: str, dumped: bytes) -> Rolling:
    """What `Rolling.dump` wrote.

    Raises:
        ValueError: it did not write this.
    """
    try:
        close, newest, bars, closed, kept = _HEAD.unpack_from(dumped)
        counts = struct.unpack_from(f"<{closed}H", dumped, _HEAD.size)
        bounds = [*accumulate((_VALUE * count for count in counts), initial=_HEAD.size + 2 * closed)]
        sessions = [dumped[start:stop] for start, stop in pairwise(bounds)]
        values = struct.unpack(f"<{kept}d", dumped[bounds[-1] :])
        instants = [_EPOCH + each * _MICROSECOND for each in (close, newest)]
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{len(dumped)} bytes are no calibration: {error}") from None
    if bounds[-1] > len(dumped) or 0 in counts:
        raise ValueError(f"{len(dumped)} bytes are no calibration: a session is cut off or empty")
    window = window_of(timeframe)
    past = Past(seed, window, tuple(sessions[-window:]))
    return Rolling(past, instants[0], instants[1] if bars else None, bars, values)


@lru_cache(maxsize=4096)
def _step(bars: int) -> int:
    """Of a session of so many bars each one of this many is kept: a power of two, so that what is kept is thinned."""
    return 1 << (max(bars - 1, 0) // MOST_VALUES).bit_length()


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND

"""When a child that ended is started again, and when it is given up."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Waits twice as long after each failure in a row, up to a cap; gives up after too many within a while.

    All times are in seconds.
    """

    first: float = 0.5
    longest: float = 30.0
    failures: int = 5
    within: float = 300.0

    def wait(self, failed_at: Sequence[float], now: float) -> float | None:
        """Seconds to wait before the next start, or None to give up.

        Args:
            failed_at: when it failed, ascending, the last failure included.
            now: the time on the same clock.
        """
        recent = sum(now - at <= self.within for at in failed_at)
        if recent > self.failures:
            return None
        return min(self.longest, self.first * 2.0 ** max(0, recent - 1))

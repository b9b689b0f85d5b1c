"""Live performance: what following an ensemble's signals earns, bar after bar, by the formulas that score trials.

A signal carries the price of its bar's close and nothing of the next open. So a position decided at a close is taken at
the next one (or at the same, where the ensemble is executed so) and held for a bar: for `next_open` that is near, for
the others exact. Time is that of the bars; what is told twice, or late, changes nothing.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from orchestrator.core.deflation import moments, psr

KEPT = 3
"""Bars until a decision's profit is settled: the one that decides, the two between whose prices the position is held.
The newest may still be corrected, so that a bar leaves when a fourth one comes."""
LARGEST_MOVE = 1e6
"""Of a price from one bar to the next; beyond it a price is a mistake, and figures must stay finite."""


@dataclass(frozen=True)
class Following:
    """How signals of one version in one instrument are followed."""

    cost: float
    """Of a change of position by one unit, as a fraction."""
    delay: int
    """Bars from the decision to the close at which it is carried out: 0 or 1."""
    share: float
    """Of the stake, which is divided equally among the version's instruments."""


@dataclass(frozen=True)
class Said:
    """What a signal says of a bar."""

    event_time: datetime
    revision: int
    target: int | None
    """What to hold; None: what is held."""
    price: float | None
    session: datetime
    """The close of the session that the bar belongs to."""
    following: Following | None
    """None: its version does not cover the instrument, and gives up what one before it held."""


@dataclass(frozen=True)
class Bar:
    """A bar with a price, and the position that was decided at it."""

    event_time: datetime
    position: int
    price: float
    session: datetime
    following: Following


@dataclass(frozen=True)
class Earned:
    """What a bar's decision has earned: `gained` before costs, `net` after them, both of the whole stake."""

    session: datetime
    gained: float
    net: float


@dataclass(frozen=True)
class Line:
    """Where one instrument stands: its last bars, oldest first; those before them are settled."""

    newest: tuple[datetime, int]
    """The bar and the revision that were told last."""
    held: int | None = None
    """None: there was no opinion yet."""
    before: int = 0
    """The position before the first of `bars`."""
    bars: tuple[Bar, ...] = ()

    def then(self, said: Said) -> "Line":
        """Where it stands after a newer bar or revision.

        A bar without a price has no return: what is decided at it is held from the next one that has one. A revision
        takes the place of what was said of its bar, as far as it says anything.
        """
        held = self.held if said.target is None else said.target
        line = replace(self, newest=(said.event_time, said.revision), held=held)
        last = self.bars[-1] if self.bars else None
        revised = last is not None and last.event_time == said.event_time
        price = last.price if said.price is None and last is not None and revised else said.price
        following = last.following if said.following is None and last is not None else said.following
        if held is None or price is None or following is None:
            return line
        bar = Bar(said.event_time, held, price, said.session, following)
        return replace(line, bars=(*(self.bars[:-1] if revised else self.bars), bar))

    def earned(self) -> Iterator[Earned]:
        """What each of its bars has earned, as far as the prices are known."""
        before = self.before
        for place, bar in enumerate(self.bars):
            entered = place + bar.following.delay
            if entered + 1 < len(self.bars):
                move = min(self.bars[entered + 1].price / self.bars[entered].price - 1.0, LARGEST_MOVE)
                gained = bar.position * move
                net = gained - bar.following.cost * abs(bar.position - before)
                yield Earned(bar.session, bar.following.share * gained, bar.following.share * net)
            before = bar.position


@dataclass(frozen=True)
class Figures:
    """What following an ensemble's signals has earned; a ratio without its denominator is None.

    Attributes:
        sessions: those with a bar whose profit is known.
        hit_rate: share of the bars held, with a price that moved, on which the price moved the position's way.
        net_sharpe: of profit by session after costs, annualised.
        net_return: the whole profit after costs, as a share of the stake, not compounded.
        confidence: the probability that the true Sharpe ratio is above 0.
    """

    sessions: int
    hit_rate: float | None
    net_sharpe: float | None
    net_return: float
    confidence: float | None


@dataclass
class Account:
    """An ensemble's signals in one mode, as far as they were followed.

    Attributes:
        version: the one that answered last.
        since: the first bar with an opinion.
        through: the newest bar.
        session: the close of the newest session.
        signals: bars answered since then, those without an opinion or a price among them.
        moved: settled bars that were held, and whose price moved.
        hits: those of them on which it moved the position's way.
        lines: the instruments, by ticker and timeframe.
        profit: settled profit after costs, by the close of its session.
        untold: something has changed since `told_at`, when the figures were told last, and `told_session` was the
            newest session.
    """

    version: int = 1
    since: datetime | None = None
    through: datetime | None = None
    session: datetime | None = None
    signals: int = 0
    moved: int = 0
    hits: int = 0
    lines: dict[str, Line] = field(default_factory=dict)
    profit: dict[datetime, float] = field(default_factory=dict)
    untold: bool = False
    told_at: datetime | None = None
    told_session: datetime | None = None

    def follow(self, instrument: str, version: int, said: Said) -> bool:
        """Take in what a signal says; False: it was said before, or is older than what was."""
        known = self.lines.get(instrument)
        newest = (said.event_time, said.revision)
        if known is not None and newest <= known.newest:
            return False
        line = (known or Line(newest)).then(said)
        if len(line.bars) > KEPT:
            line = self._settled(line)
        self.lines[instrument] = line
        if line.held is not None:
            counted = known is not None and known.held is not None and known.newest[0] == said.event_time
            self._count(said, version, new=not counted)
        return True

    def figures(self, sessions_per_year: float) -> Figures:
        """What was earned until now, with what the newest bars have earned if their prices stay as they are."""
        profit = defaultdict(float, self.profit)
        moved, hits = self.moved, self.hits
        for line in self.lines.values():
            for each in line.earned():
                profit[each.session] += each.net
                moved += each.gained != 0.0
                hits += each.gained > 0.0
        by_session = np.array([profit[session] for session in sorted(profit)])
        observed = moments(by_session)
        return Figures(
            sessions=len(by_session),
            hit_rate=hits / moved if moved else None,
            net_sharpe=None if observed is None else observed.sharpe * math.sqrt(sessions_per_year),
            net_return=float(by_session.sum()),
            confidence=None if observed is None else psr(observed),
        )

    def is_due(self, now: datetime, every: timedelta) -> bool:
        """Whether the figures are to be told: they changed, and a session closed or much time passed since."""
        if not self.untold or self.session is None:
            return False
        if self.told_at is None or self.told_session is None or now - self.told_at >= every:
            return True
        return self.session > self.told_session or self.told_at < self.session <= now

    def tell(self, now: datetime) -> None:
        """The figures are told."""
        self.untold, self.told_at, self.told_session = False, now, self.session

    def _settled(self, line: Line) -> Line:
        first = next(line.earned())
        self.profit[first.session] = self.profit.get(first.session, 0.0) + first.net
        self.moved += first.gained != 0.0
        self.hits += first.gained > 0.0
        return replace(line, before=line.bars[0].position, bars=line.bars[1:])

    def _count(self, said: Said, version: int, *, new: bool) -> None:
        self.version, self.untold = version, True
        self.signals += new
        self.since = min(self.since or said.event_time, said.event_time)
        self.through = max(self.through or said.event_time, said.event_time)
        self.session = max(self.session or said.session, said.session)

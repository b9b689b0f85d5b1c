"""Asynchronous successive halving."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from orchestrator.core.space import Configuration
from orchestrator.search.strategies.base import Proposal, finite
from orchestrator.search.strategies.searchers import Searcher

ETA = 3
"""One trial in so many is promoted."""


def rungs(full: int, grace: int, eta: int = ETA) -> tuple[int, ...]:
    """Budgets at which trials are compared, ascending: `full` over the powers of `eta` down to `grace`; never empty."""
    budgets = [full]
    while (budget := full // eta ** len(budgets)) >= max(grace, 1):
        budgets.append(budget)
    return tuple(reversed(budgets))


class _Rung:
    """The trials that have got as far as one budget, best first: (-score, number)."""

    def __init__(self) -> None:
        self.told = 0
        self.ranked: list[tuple[float, int]] = []
        self.waiting: list[tuple[float, int]] = []

    def place(self, number: int, score: float | None) -> None:
        self.told += 1
        if score is not None:
            insort(self.ranked, (-score, number))
            insort(self.waiting, (-score, number))

    def promotable(self, eta: int) -> bool:
        """Whether the best of those waiting is among the best 1/eta of the rung."""
        return bool(self.waiting) and bisect_left(self.ranked, self.waiting[0]) < self.told // eta


class Asha:
    """Successive halving without barriers, by promotion (Li et al., 2018).

    Who is among the best 1/eta of a rung goes on to the next one, the highest rung first; where nobody is, a new trial
    begins. Trials that failed or have no score count in their rung and are never promoted. When nothing else is left to
    do, the best trial of the highest rung goes on until one has a score at the full budget, however few trials there
    are; all others are then given up. The searcher learns the scores of the lowest rung, whose budget all trials share.

    Args:
        most: trials, at most as many as there are configurations.
        budgets: of the rungs, ascending.
    """

    def __init__(self, searcher: Searcher, most: int, *, budgets: Sequence[int], eta: int = ETA) -> None:
        self._searcher = searcher
        self._most = most
        self._budgets = tuple(budgets)
        self._eta = eta
        self._rungs = [_Rung() for _ in budgets]
        self._configurations: list[Configuration] = []
        self._running: dict[int, int] = {}
        self._open: set[int] = set()
        self._given_up: list[int] = []

    @property
    def most(self) -> int:
        return self._most

    def ask(self, limit: int) -> Sequence[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < limit and (proposal := self._next()):
            proposals.append(proposal)
        self._conclude()
        return proposals

    def tell(self, proposal: Proposal, score: float | None, *, failed: bool = False) -> None:
        number, level = proposal.number, self._running.pop(proposal.number)
        self._configurations[number] = proposal.configuration
        counted = None if failed else finite(score)
        self._rungs[level].place(number, counted)
        if level == 0:
            self._searcher.observe(number, proposal.configuration, counted)
        if failed or level == len(self._budgets) - 1:
            self._open.remove(number)
        self._conclude()

    def given_up(self) -> Sequence[int]:
        stopped, self._given_up = self._given_up, []
        return stopped

    @property
    def finished(self) -> bool:
        return not self._open and len(self._configurations) == self._most

    def _next(self) -> Proposal | None:
        lower = range(len(self._rungs) - 2, -1, -1)
        level = next((level for level in lower if self._rungs[level].promotable(self._eta)), None)
        if level is None and len(self._configurations) < self._most:
            number = len(self._configurations)
            configuration = self._searcher.propose(number)
            if configuration is not None:
                self._configurations.append(configuration)
                self._open.add(number)
                return self._step(number, 0)
            self._most = number
        if level is None and not self._running and not self._rungs[-1].ranked:
            level = next((level for level in lower if self._rungs[level].waiting), None)
        if level is None:
            return None
        _, number = self._rungs[level].waiting.pop(0)
        return self._step(number, level + 1)

    def _step(self, number: int, level: int) -> Proposal:
        self._running[number] = level
        last = level == len(self._budgets) - 1
        return Proposal(number, self._configurations[number], self._budgets[level], step=level + 1, last=last)

    def _conclude(self) -> None:
        """Give up what is open when nothing runs and nothing will."""
        lower = self._rungs[:-1]
        if self._running or len(self._configurations) < self._most:
            return
        if any(rung.promotable(self._eta) for rung in lower):
            return
        if not self._rungs[-1].ranked and any(rung.waiting for rung in lower):
            return
        self._given_up += sorted(self._open)
        self._open.clear()

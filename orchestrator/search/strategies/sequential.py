"""Bayesian search: a searcher that is asked in batches."""

from collections.abc import Sequence

from orchestrator.core.space import Configuration
from orchestrator.search.strategies.base import Proposal, finite
from orchestrator.search.strategies.searchers import Searcher

BATCH = 4


class Sequential:
    """Trials with the full budget in batches: the searcher learns of a batch when all of it is over, by number.

    So the results depend neither on how many trials run at once nor on the order in which they end.

    Args:
        most: trials, at most as many as there are configurations.
        initial: trials of the first batch, before the searcher has learned anything.
        batch: trials of each later one.
    """

    def __init__(self, searcher: Searcher, most: int, *, initial: int, batch: int = BATCH) -> None:
        self._searcher = searcher
        self._most = most
        self._batch = batch
        self._asked = 0
        self._barrier = min(initial, most)
        self._running: set[int] = set()
        self._over: dict[int, tuple[Configuration, float | None]] = {}

    @property
    def most(self) -> int:
        return self._most

    def ask(self, limit: int) -> Sequence[Proposal]:
        proposals: list[Proposal] = []
        while len(proposals) < limit and self._asked < self._barrier:
            configuration = self._searcher.propose(self._asked)
            if configuration is None:
                self._most = self._barrier = self._asked
                break
            proposals.append(Proposal(self._asked, configuration, budget=None))
            self._running.add(self._asked)
            self._asked += 1
        return proposals

    def tell(self, proposal: Proposal, score: float | None, *, failed: bool = False) -> None:
        self._running.remove(proposal.number)
        self._over[proposal.number] = proposal.configuration, None if failed else finite(score)
        if self._running or self._asked < self._barrier:
            return
        for number in sorted(self._over):
            self._searcher.observe(number, *self._over[number])
        self._over.clear()
        self._barrier = min(self._asked + self._batch, self._most)

    def given_up(self) -> Sequence[int]:
        return ()

    @property
    def finished(self) -> bool:
        return self._asked == self._most and not self._running

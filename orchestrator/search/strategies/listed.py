"""Grid and random search: configurations that are known beforehand."""

from collections.abc import Iterable, Sequence

from orchestrator.core.canonical import FLOAT_DIGITS
from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.base import Proposal, Seed
from orchestrator.search.strategies.searchers import RandomSearcher


class Listed:
    """Every configuration of a list once, in its order, with the full budget."""

    def __init__(self, configurations: Iterable[Configuration]) -> None:
        self._configurations = tuple(configurations)
        self._asked = 0
        self._running: set[int] = set()

    @property
    def most(self) -> int:
        return len(self._configurations)

    def ask(self, limit: int) -> Sequence[Proposal]:
        numbers = range(self._asked, min(self._asked + limit, self.most))
        self._asked = numbers.stop
        self._running.update(numbers)
        return tuple(Proposal(number, self._configurations[number], budget=None) for number in numbers)

    def tell(self, proposal: Proposal, score: float | None, *, failed: bool = False) -> None:
        self._running.remove(proposal.number)

    def given_up(self) -> Sequence[int]:
        return ()

    @property
    def finished(self) -> bool:
        return self._asked == self.most and not self._running


def drawn(space: Space, count: int, seed: Seed, digits: int = FLOAT_DIGITS) -> tuple[Configuration, ...]:
    """`count` different configurations of a space, or all it has; a larger count begins with the same ones."""
    searcher = RandomSearcher(space, seed, digits)
    configurations = (searcher.propose(number) for number in range(count))
    return tuple(each for each in configurations if each is not None)

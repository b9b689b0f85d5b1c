"""Population-based training, by generations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np

from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json
from orchestrator.core.space import Configuration, Space, perturb
from orchestrator.search.strategies.base import Proposal, Seed, finite
from orchestrator.search.strategies.listed import drawn

QUARTER = 4
PERTURBATIONS = 10
"""How often a clone's configuration is drawn again for having been in the population before."""


@dataclass(frozen=True)
class _Member:
    """Who is alive at the end of a generation."""

    proposal: Proposal
    score: float | None

    @property
    def order(self) -> tuple[bool, float, int]:
        """Best first: by score, then those without one; ties by number."""
        return self.score is None, -(self.score or 0.0), self.proposal.number


def budgets(full: int, generations: int) -> tuple[int, ...]:
    """Budgets by generation, in all: `full` in equal parts, each of at least 1."""
    return tuple(max(generation, full * generation // generations) for generation in range(1, generations + 1))


class Pbt:
    """A random population, improved generation by generation (Jaderberg et al., 2017).

    When every member of a generation has been told, it bears a quarter of the population: clones of its best members,
    one each. A clone is a new trial, with its parent's configuration perturbed, that takes over its parent's state of
    the generation just over. Clones take the places of members that failed, then of the worst ones, which are given up;
    the others go on as they are. So when more than a quarter fail, the population is smaller until clones have filled
    it again; when nobody is alive, the search ends. The order of tells within a generation changes nothing.

    Args:
        population: members, at most as many as there are configurations; a quarter of them is at least 1 of 2.
        budgets: by generation, in all; None: the family does not accumulate, each generation trains anew in full.
    """

    def __init__(
        self,
        space: Space,
        *,
        population: int,
        budgets: Sequence[int | None],
        seed: Seed,
        digits: int = FLOAT_DIGITS,
    ) -> None:
        self._space = space
        self._budgets = tuple(budgets)
        self._seed = seed
        self._digits = digits
        self._generation = 0
        founders = drawn(space, population, seed, digits)
        self._known = {canonical_json(each, digits) for each in founders}
        self._population = self._born = len(founders)
        self._quarter = max(self._born // QUARTER, 1) if self._born > 1 else 0
        self._waiting = [
            Proposal(number, each, self._budgets[0], last=len(self._budgets) == 1)
            for number, each in enumerate(founders)
        ]
        self._running: set[int] = set()
        self._alive: list[_Member] = []
        self._given_up: list[int] = []

    @property
    def most(self) -> int:
        if self.finished:
            return self._born
        return self._born + self._quarter * (len(self._budgets) - 1 - self._generation)

    def ask(self, limit: int) -> Sequence[Proposal]:
        proposals, self._waiting = self._waiting[:limit], self._waiting[limit:]
        self._running.update(proposal.number for proposal in proposals)
        return proposals

    def tell(self, proposal: Proposal, score: float | None, *, failed: bool = False) -> None:
        self._running.remove(proposal.number)
        self._known.add(canonical_json(proposal.configuration, self._digits))
        if not failed:
            self._alive.append(_Member(proposal, finite(score)))
        if not self._running and not self._waiting and self._generation < len(self._budgets) - 1:
            self._begin()

    def given_up(self) -> Sequence[int]:
        stopped, self._given_up = self._given_up, []
        return stopped

    @property
    def finished(self) -> bool:
        return not self._running and not self._waiting

    def _begin(self) -> None:
        """The next generation, where anybody is left to bear it."""
        alive, self._alive = sorted(self._alive, key=lambda member: member.order), []
        if not alive:
            return
        self._generation += 1
        rng = np.random.default_rng((*self._seed, self._born, self._generation))
        budget, last = self._budgets[self._generation], self._generation == len(self._budgets) - 1
        vacant = self._population - len(alive)
        stays = len(alive) - max(self._quarter - vacant, 0)
        goes_on = sorted((member.proposal for member in alive[:stays]), key=lambda proposal: proposal.number)
        parents = [member.proposal for member in islice(cycle(alive[: self._quarter]), self._quarter)]
        clones = [
            Proposal(self._born + place, self._perturbed(each.configuration, rng), budget, each.number, last=last)
            for place, each in enumerate(parents)
        ]
        self._born += len(clones)
        self._given_up += sorted(member.proposal.number for member in alive[stays:])
        # Clones first: each takes over its parent as it is before that goes on.
        self._waiting = clones + [replace(each, budget=budget, step=each.step + 1, last=last) for each in goes_on]

    def _perturbed(self, configuration: Configuration, rng: np.random.Generator) -> Configuration:
        """A perturbation that the population has not had, where a few attempts find one."""
        for _ in range(PERTURBATIONS):
            perturbed = perturb(self._space, configuration, rng)
            written = canonical_json(perturbed, self._digits)
            if written not in self._known:
                break
        self._known.add(written)
        return perturbed

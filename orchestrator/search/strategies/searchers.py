"""Searchers: what says which configuration to try next."""

from collections import Counter
from typing import Protocol

import numpy as np

from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json
from orchestrator.core.space import Configuration, Space, sample_unknown
from orchestrator.search.strategies.base import Seed


class Searcher(Protocol):
    """Proposes different configurations of a space. The same calls in the same order give the same proposals."""

    def propose(self, number: int) -> Configuration | None:
        """A configuration for the trial `number` that was neither proposed nor observed before; None: there is none."""
        ...

    def observe(self, number: int, configuration: Configuration, score: float | None) -> None:
        """What the trial scored, higher being better; None: nothing, which is as bad as the worst.

        Args:
            number: of a trial that was proposed; each is observed once at most.
            configuration: that was tried, should it differ from the one proposed.
            score: finite, or None.
        """
        ...


class RandomSearcher:
    """Draws evenly. What it draws for a number depends on the other ones only in that it draws none twice."""

    def __init__(self, space: Space, seed: Seed, digits: int = FLOAT_DIGITS) -> None:
        self._space = space
        self._seed = seed
        self._digits = digits
        self._proposed: dict[int, str] = {}
        self._known: Counter[str] = Counter()

    def propose(self, number: int) -> Configuration | None:
        rng = np.random.default_rng((*self._seed, number))
        configuration = sample_unknown(self._space, self._known, rng, self._digits)
        if configuration is not None:
            self._keep(number, canonical_json(configuration, self._digits))
        return configuration

    def observe(self, number: int, configuration: Configuration, score: float | None) -> None:
        self._known -= Counter((self._proposed[number],))
        self._keep(number, canonical_json(configuration, self._digits))

    def settle(self, number: int, suggested: Configuration) -> Configuration | None:
        """What is suggested, where it is not known yet; else what is drawn."""
        written = canonical_json(suggested, self._digits)
        if written in self._known:
            return self.propose(number)
        self._keep(number, written)
        return suggested

    def _keep(self, number: int, written: str) -> None:
        self._proposed[number] = written
        self._known[written] += 1

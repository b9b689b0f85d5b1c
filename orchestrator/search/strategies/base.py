"""What a search strategy is: it proposes a population's trials and learns from their scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.space import Configuration

Seed = tuple[int, ...]
"""The request's seed, then whatever tells its populations apart."""


@dataclass(frozen=True)
class Proposal:
    """A trial to be trained up to a budget and scored: one step of it."""

    number: int
    """Of the trial in its population, from 0, in the order of first proposal."""
    configuration: Configuration
    budget: int | None
    """Until which it is trained in all, in the family's unit; None: the family's full budget, from scratch."""
    parent: int | None = None
    """Number of the trial that it was cloned from, whose state it takes over when it begins; None: from scratch."""
    step: int = 1
    """How many-th proposal of this trial, from 1; above 1, it goes on from the trial's own state."""
    last: bool = True
    """With this step's score the trial is completed."""


class Strategy(Protocol):
    """Proposes one population's trials. It does no I/O and reads no clock; its randomness comes from its seed alone.

    What it proposes is determined by the calls it got, in their order. So a search is restored by asking a new strategy
    and telling it at once every score that is known: proposals already scored come again, then the others.
    """

    @property
    def most(self) -> int:
        """Trials in all at most: exact where nothing fails, and never more than it was."""
        ...

    def ask(self, limit: int) -> Sequence[Proposal]:
        """At most `limit` steps that may start now, never one of a trial that is running.

        None: wait for what is running, or `finished`.
        """
        ...

    def tell(self, proposal: Proposal, score: float | None, *, failed: bool = False) -> None:
        """A step that was asked for is over.

        Args:
            proposal: as it was run. Its configuration counts from now on, should it differ from the one proposed.
            score: higher is better; None or not finite: there is none, which is worse than any.
            failed: there is nothing to go on from. The trial is never proposed again.

        Raises:
            KeyError: the trial is not running.
        """
        ...

    def given_up(self) -> Sequence[int]:
        """Numbers of the trials stopped early since the last call, ascending. Trials that failed are not among them."""
        ...

    @property
    def finished(self) -> bool:
        """Nothing is running and nothing will be proposed."""
        ...


def finite(score: float | None) -> float | None:
    """The score where it is a number to compare by."""
    return score if score is not None and math.isfinite(score) else None

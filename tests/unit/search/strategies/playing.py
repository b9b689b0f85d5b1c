"""A search without Ray: strategies asked and told by a loop whose order is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.base import Proposal, Strategy
from schemas.search import Choice, IntegerRange, LogUniform, Uniform

SPACE: Space = {
    "alpha": LogUniform(kind="loguniform", low=1e-5, high=10.0),
    "depth": IntegerRange(kind="integer", low=1, high=12),
    "booster": Choice(kind="choice", values=("tree", "linear", "dart")),
    "ratio": Uniform(kind="uniform", low=0.0, high=1.0),
}
Key = tuple[int, int]
"""A trial's number and its step."""


@dataclass(frozen=True)
class Told:
    """A step that is over."""

    proposal: Proposal
    score: float | None
    failed: bool = False


Outcome = Callable[[Proposal], Told]


@dataclass
class Played:
    """What a search did, in order."""

    asked: list[Proposal] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    @property
    def configurations(self) -> dict[int, Configuration]:
        return {proposal.number: proposal.configuration for proposal in self.asked}

    @property
    def best(self) -> float:
        return max(each.score for each in self.told if each.score is not None)


def smooth(proposal: Proposal) -> Told:
    """A smooth score over `SPACE`, 0 at its best; a larger budget sees it more clearly."""
    return Told(proposal, quality(proposal.configuration) - 1.0 / (proposal.budget or 1000))


def quality(configuration: Configuration) -> float:
    alpha, depth = np.log10(float(configuration["alpha"])), float(configuration["depth"])
    booster = {"tree": 0.0, "linear": 0.6, "dart": 0.3}[str(configuration["booster"])]
    return -float(
        ((alpha + 2.0) / 3.0) ** 2 + ((depth - 7.0) / 6.0) ** 2 + booster + (float(configuration["ratio"]) - 0.3) ** 2
    )


def play(
    strategy: Strategy,
    outcome: Outcome = smooth,
    *,
    slots: int = 4,
    order: int = 0,
    known: Mapping[Key, Told] | None = None,
    crash_after: int | None = None,
) -> Played:
    """Run a search to its end.

    Args:
        slots: steps that run at once.
        order: seed of the order in which they end.
        known: what was told before a crash; it is told at once, with the configuration that was run.
        crash_after: tells, with everything that is running lost.
    """
    played, rng = Played(), np.random.default_rng(order)
    running: list[Proposal] = []
    while not strategy.finished and len(played.told) != crash_after:
        asked = strategy.ask(slots - len(running))
        assert len(asked) <= slots - len(running)
        played.asked += asked
        running += asked
        over = [known[key] for each in asked if known and (key := (each.number, each.step)) in known]
        if not over and running:
            over = [outcome(running[rng.integers(len(running))])]
        assert over or strategy.finished, "nothing runs, nothing is proposed, and it is not finished"
        for told in over:
            place = next(place for place, each in enumerate(running) if each.number == told.proposal.number)
            ran = replace(running.pop(place), configuration=told.proposal.configuration)
            strategy.tell(ran, told.score, failed=told.failed)
            played.told.append(replace(told, proposal=ran))
        played.given_up += strategy.given_up()
    return played


def by_key(played: Played) -> dict[Key, Told]:
    return {(each.proposal.number, each.proposal.step): each for each in played.told}

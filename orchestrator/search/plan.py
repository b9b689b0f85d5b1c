"""What is trained: trials, the steps in which they are trained, and the jobs in which steps travel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil

from schemas.base import Scalar

Configuration = Mapping[str, Scalar]
State = Mapping[str, tuple[bytes, ...]]
"""A trial's predictors, dumped: by ticker, one for each fold."""


@dataclass(frozen=True)
class Stage:
    """A piece of training: with this configuration, until this budget in all; None: the family's full one."""

    configuration: Configuration
    budget: int | None = None


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration on one ticker, or on all tickers of a multi-ticker search."""

    trial: str
    tickers: tuple[str, ...]
    configuration: Configuration
    fingerprint: str
    parent: str | None = None
    """The trial that this one is a mutated clone of."""
    inherited: tuple[Stage, ...] = ()
    """What its predictors had been trained by before it began: the parent's stages, oldest first."""


@dataclass(frozen=True)
class Step:
    """A piece of a trial's training, after which it is scored.

    `stages` are all pieces so far, this one last. `start` holds the predictors as of the stages before it; None: there
    are none, and all stages are gone through. With the `last` step the trial is completed; the predictors of a step
    that is not come back with its score.
    """

    trial: PlannedTrial
    number: int = 1
    stages: tuple[Stage, ...] = ()
    last: bool = True
    start: State | None = None
    fingerprint: str = ""
    """Of the trial as far as this step trains it: what has the same one comes to the same result."""
    begins: bool = True
    """No worker has had the trial before."""

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """Of the stages that are still to be gone through."""
        return tuple(stage.budget for stage in (self.stages if self.start is None else self.stages[-1:]))


@dataclass(frozen=True)
class Job:
    """Steps that one worker evaluates together: of the same tickers, through the same budgets."""

    number: int
    steps: tuple[Step, ...]

    @property
    def tickers(self) -> tuple[str, ...]:
        """That the steps are about."""
        return self.steps[0].trial.tickers


def packed(steps: Sequence[Step], *, lanes: int, batch: int) -> tuple[tuple[Step, ...], ...]:
    """Steps that can travel together, together; the order stays.

    Args:
        steps: any.
        lanes: workers that wait for them, at least 1: none goes without while another has several.
        batch: steps of one pack at most, at least 1.
    """
    size = max(1, min(batch, ceil(len(steps) / lanes)))
    packs: list[tuple[Step, ...]] = []
    for _, group in groupby(steps, key=lambda step: (step.trial.tickers, step.budgets, step.start is None)):
        alike = tuple(group)
        count = ceil(len(alike) / size)
        edges = [len(alike) * part // count for part in range(count + 1)]
        packs += [alike[begin:end] for begin, end in pairwise(edges)]
    return tuple(packs)

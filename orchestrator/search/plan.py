"""Which trials an experiment consists of, and which of them travel together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from schemas.base import Scalar

LARGEST_BLOCK = 16
"""Configurations: enough that what Tune spends on one of its own trials vanishes, and progress is still seen."""
ROUNDS = 2
"""Blocks that each slot gets at least, where there is enough work, so that no slot idles through the last one."""

Configuration = Mapping[str, Scalar]


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration on one ticker."""

    trial: str
    ticker: str
    configuration: Configuration
    fingerprint: str


@dataclass(frozen=True)
class Block:
    """Trials of one ticker that Tune carries as one of its own. `number` is the block's place in its plan."""

    number: int
    ticker: str
    trials: tuple[PlannedTrial, ...]


def trials_of(
    tickers: Iterable[str],
    configurations: Sequence[Configuration],
    fingerprint: Callable[[str, Configuration], str],
) -> tuple[PlannedTrial, ...]:
    """Every configuration on every ticker, one ticker after the other.

    A trial's name is its place in this order, so that the same request always names the same trial.

    Args:
        fingerprint: of a ticker and a configuration.
    """
    pairs = ((ticker, configuration) for ticker in tickers for configuration in configurations)
    return tuple(
        PlannedTrial(f"t{number:05d}", ticker, configuration, fingerprint(ticker, configuration))
        for number, (ticker, configuration) in enumerate(pairs, start=1)
    )


def blocks_of(trials: Sequence[PlannedTrial], *, slots: int, largest: int = LARGEST_BLOCK) -> tuple[Block, ...]:
    """Cut trials into blocks of one ticker, of almost equal size, without changing their order.

    Args:
        trials: a ticker's next to each other.
        slots: blocks that are evaluated at the same time, at least 1.
        largest: trials in a block at most, at least 1.
    """
    size = max(1, min(largest, len(trials) // (ROUNDS * slots)))
    blocks: list[Block] = []
    for ticker, group in groupby(trials, key=lambda trial: trial.ticker):
        own, first = tuple(group), len(blocks)
        count = ceil(len(own) / size)
        edges = [len(own) * part // count for part in range(count + 1)]
        blocks += [Block(first + part, ticker, own[edges[part] : edges[part + 1]]) for part in range(count)]
    return tuple(blocks)

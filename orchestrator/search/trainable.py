"""What Tune runs: one step evaluates one block of trials."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from orchestrator.algorithms.base import trainer
from orchestrator.search.evaluation import Ground, Rules, evaluate
from orchestrator.search.plan import Block

NICENESS = 10
"""Of trial workers: signals are answered first."""
OUTCOMES = "outcomes"
"""Where a result holds the block's outcomes."""


@dataclass(frozen=True)
class Work:
    """What the workers of one experiment share, in Ray's object store."""

    rules: Rules
    blocks: tuple[Block, ...]
    grounds: Mapping[str, "ray.ObjectRef[Ground]"]
    """By ticker: a worker maps only those of its blocks, without copying them."""


class BlockTrainable(tune.Trainable):
    """Evaluates the block whose number is `config["block"]`, of the `Work` that `config["work"]` refers to.

    A class, and resettable, so that one worker evaluates one block after the other: a worker takes seconds to start.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Make way for serving, and fetch what the blocks share."""
        os.nice(max(0, NICENESS - os.nice(0)))
        self._work: Work = ray.get(config["work"])
        self._trainer = trainer(self._work.rules.algorithm)
        self._block = self._work.blocks[config["block"]]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another block of the same experiment."""
        self._block = self._work.blocks[new_config["block"]]
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the block; there is no second step."""
        ground = ray.get(self._work.grounds[self._block.ticker])
        outcomes = evaluate(self._block, ground, self._work.rules, self._trainer, time.perf_counter)
        return {OUTCOMES: outcomes, "done": True}

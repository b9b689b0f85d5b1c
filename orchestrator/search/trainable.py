"""What Tune runs: a lane, which evaluates one job after the other until there are none."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from orchestrator.algorithms.base import trainer
from orchestrator.search.evaluation import Bench, Ground, Rules, evaluate
from orchestrator.search.guard import Guard, Limits
from orchestrator.search.plan import Job
from orchestrator.search.streamed import fetched

NICENESS = 10
"""Of trial workers: signals are answered first."""
JOB, OUTCOMES = "job", "outcomes"
"""Where a result holds the job's number and its outcomes."""


@dataclass(frozen=True)
class Work:
    """What the lanes of one run share, in Ray's object store."""

    run: str
    rules: Rules
    grounds: Mapping[str, "ray.ObjectRef[Ground]"]
    """By ticker: a worker maps only those of its jobs, without copying them."""
    threads: int
    limits: Limits
    slots: Any
    """Handle of the broker."""


class LaneTrainable(tune.Trainable):
    """Lane `config["lane"]` of the `Work` that `config["work"]` refers to; each step evaluates a job.

    One worker stays for all of them: it takes seconds to start, and keeps training sets prepared.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Make way for serving, and fetch what the lanes share."""
        os.nice(max(0, NICENESS - os.nice(0)))
        self._lane = str(config["lane"])
        work: Work = ray.get(config["work"])
        self._work = work
        self._bench = Bench(
            trainer(work.rules.algorithm),
            work.rules,
            lambda ticker: fetched(work.grounds[ticker]),
            time.perf_counter,
            work.threads,
        )
        self._guard = Guard(work.slots, work.run, self._lane, work.limits)

    def step(self) -> dict[str, Any]:
        """Wait for a turn, and evaluate a job; done when the run is over."""
        taken = ray.get(self._work.slots.take.remote(self._work.run, self._lane))
        if taken is None:
            return {"done": True}
        job: Job = ray.get(taken[0])
        self._guard.begin(len(job.steps))
        outcomes = evaluate(job, self._bench)
        self._guard.end()
        return {JOB: job.number, OUTCOMES: outcomes, "done": False}

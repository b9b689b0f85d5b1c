"""What Tune runs: a lane, which evaluates one job after the other, of whichever experiment has its turn."""

import os
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.algorithms.base import trainer
from orchestrator.search.evaluation import Bench, evaluate
from orchestrator.search.guard import Guard
from orchestrator.search.plan import Job, Step
from orchestrator.search.slots import Finished, Turn, broker
from orchestrator.search.streamed import fetched
from orchestrator.search.work import Work

NICENESS = 10
"""Of trial workers: signals are answered first."""
REPORT_SECONDS = 60.0
"""After which a lane lets Tune know that it lives; each time costs it a few milliseconds."""


class LaneTrainable(tune.Trainable):
    """Lane `config["lane"]` of pool `config["pool"]`, in the Ray namespace `config["namespace"]`.

    Its worker stays for all jobs that it gets: it takes seconds to start, and keeps training sets prepared for as long
    as their run is open.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Make way for serving."""
        os.nice(max(0, NICENESS - os.nice(0)))
        self._pool = str(config["pool"])
        self._lane = f"{self._pool}/{config['lane']}"
        self._slots = broker(str(config["namespace"]))
        self._guard = Guard(self._slots, self._lane)
        self._known: dict[str, tuple[Work, Bench]] = {}
        self._finished: Finished | None = None

    def step(self) -> dict[str, Any]:
        """Evaluate jobs for a while."""
        jobs, began = 0, time.monotonic()
        while time.monotonic() - began < REPORT_SECONDS:
            turn, runs = ray.get(self._slots.take.remote(self._lane, self._pool, self._finished))
            self._finished = None
            self._known = {run: known for run, known in self._known.items() if run in runs}
            if turn is not None:
                self._finished = self._evaluated(turn)
                jobs += 1
        return {"jobs": jobs}

    def _evaluated(self, turn: Turn) -> Finished | None:
        try:
            work, bench = self._bench(turn)
            steps: tuple[Step, ...] = ray.get(turn.steps[0])
        except ray.exceptions.ObjectLostError:
            # They have gone with the driver.
            return None
        self._guard.begin(len(steps), work.limits)
        outcomes = evaluate(Job(turn.job, steps), bench)
        self._guard.end()
        return turn.run, turn.job, [ray.put(outcomes)]

    def _bench(self, turn: Turn) -> tuple[Work, Bench]:
        if turn.run not in self._known:
            work: Work = ray.get(turn.work[0])

            family, grounds = trainer(work.rules.algorithm), work.grounds
            bench = Bench(family, work.rules, lambda ticker: fetched(grounds[ticker]), time.perf_counter, work.threads)
            self._known[turn.run] = (work, bench)
        return self._known[turn.run]


class Losses(tune.Callback):
    """Tells the broker of lanes that died, as soon as Tune hears of it."""

    def __init__(self, slots: Any) -> None:
        self._slots = slots

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into a file from which nothing here is ever restored.
        return {}

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pool = str(trial.config["pool"])
        error = Path(trial.error_file).read_text() if trial.error_file else "no more is known"
        self._slots.lost.remote(f"{pool}/{trial.config['lane']}", pool, error.strip().rsplit("\n", 1)[-1])

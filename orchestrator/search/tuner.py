"""Running a campaign with Ray Tune."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.algorithms.base import Trainer
from orchestrator.core.errors import Refused
from orchestrator.search.campaign import Campaign
from orchestrator.search.evaluation import MESSAGE_LENGTH, Ground, Rules
from orchestrator.search.guard import Limits
from orchestrator.search.outcomes import Failed, Outcome, Scored, Started
from orchestrator.search.plan import Job, Step, packed
from orchestrator.search.settings import DriverSettings
from orchestrator.search.slots import broker
from orchestrator.search.streamed import reference
from orchestrator.search.trainable import JOB, OUTCOMES, LaneTrainable, Work
from schemas.base import Reason

TUNE_ENVIRONMENT = {
    # One line of CSV, JSON and TensorBoard for each result costs more than the trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Results live in the database; Tune's own snapshots restore nothing here.
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
}
ASK_SECONDS = 0.25
"""Between two questions to the broker of what has begun."""
AHEAD = 2
"""Jobs that are offered for each lane, so that none waits for the next to be thought of."""
IDLE_DEATHS = 3
"""Workers of a lane that may die in a row without having had a job: then it is not a trial that kills them."""


@dataclass(frozen=True)
class Cluster:
    """What a run may take of the cluster: so many lanes at once, each of so many cores and GPUs."""

    lanes: int
    cpus: float
    gpus: float
    slots: int
    available: float


def cluster_for(
    settings: DriverSettings, trainer: Trainer, nodes: Sequence[Mapping[str, float]], *, jobs: int
) -> Cluster:
    """How a family's trials fit a cluster of nodes with these resources, where there are so many jobs at most.

    A trial takes what the settings say, else what the family asks for, and never more than the largest node has. A lane
    takes seconds to start: what fits one job is done by one.
    """
    asked = trainer.resources
    cpus = min(settings.cpus_per_trial or asked.cpus, max((node.get("CPU", 0.0) for node in nodes), default=1.0))
    wanted = asked.gpus if settings.gpus_per_trial is None else settings.gpus_per_trial
    gpus = min(wanted, max((node.get("GPU", 0.0) for node in nodes), default=0.0))
    available = sum(node.get("CPU", 0.0) for node in nodes)
    cpus = max(cpus, 0.1)
    lanes = max(1, min(settings.max_concurrent_trials, int(available // cpus), jobs))
    return Cluster(lanes, cpus, gpus, settings.max_concurrent_trials, available)


class _Conductor(tune.Callback):
    """Keeps the lanes supplied as Tune hears from them, in Tune's own thread. What `tell` raises ends the search."""

    def __init__(
        self, run: str, campaign: Campaign, trainer: Trainer, lanes: int, slots: Any, tell: Callable[[Outcome], None]
    ) -> None:
        self._run, self._campaign, self._trainer, self._slots, self._tell = run, campaign, trainer, slots, tell
        self._lanes = lanes
        self._jobs: dict[int, Job] = {}
        """Offered, and not come out yet."""
        self._count = 0
        self._started: set[str] = set()
        """Trials of jobs that have not come out."""
        self._begun: Any = None
        self._asked = 0.0
        self._idle_deaths = 0

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into a file from which nothing here is ever restored.
        return {}

    def supply(self) -> None:
        """Offer what can start; close the run when nothing is left to do."""
        wanted = self._lanes * AHEAD * self._trainer.batch - sum(len(job.steps) for job in self._jobs.values())
        if wanted > 0:
            steps, told = self._campaign.ask(wanted)
            for outcome in told:
                self._tell(outcome)
            self._offer(packed(steps, lanes=self._lanes, batch=self._trainer.batch))
        if self._campaign.finished:
            ray.get(self._slots.close.remote(self._run))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        # Asked beside the loop, not waited for: this says early what a result would say late.
        if self._begun is None:
            if time.monotonic() - self._asked >= ASK_SECONDS:
                self._asked = time.monotonic()
                self._begun = self._slots.begun.remote(self._run)
        elif ray.wait([self._begun], timeout=0)[0]:
            for number in ray.get(self._begun):
                if number in self._jobs:
                    self._start(self._jobs[number])
            self._begun = None

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        # Taken out, so that Tune writes neither arrays nor references into its own state.
        result.pop("config", None)
        outcomes = result.pop(OUTCOMES, None)
        if outcomes is None:
            return
        self._idle_deaths = 0
        self._finish(self._jobs[result[JOB]], outcomes)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, blame = ray.get(self._slots.lost.remote(self._run, str(trial.config["lane"])))
        if number is None:
            self._idle_deaths += 1
            if self._idle_deaths > IDLE_DEATHS * self._lanes:
                message = f"workers end before they have a trial: {_error_of(trial)}"
                raise Refused([Reason(code="workers_fail", message=message[:MESSAGE_LENGTH])])
            return
        job = self._jobs[number]
        self._start(job)
        if len(job.steps) > 1:
            # Each by itself, so that only the guilty one fails.
            del self._jobs[number]
            self._offer([(step,) for step in job.steps], first=True)
            return
        unknown = Reason(code="worker_failed", message=f"its worker failed: {_error_of(trial)}"[:MESSAGE_LENGTH])
        self._finish(job, [Failed(job.steps[0].trial.trial, (blame or unknown,), 0.0)])

    def _finish(self, job: Job, outcomes: Sequence[Scored | Failed]) -> None:
        self._start(job)
        del self._jobs[job.number]
        self._started -= {step.trial.trial for step in job.steps}
        for outcome in outcomes:
            self._tell(outcome)
            for other in self._campaign.tell(outcome):
                self._tell(other)
        self.supply()

    def _start(self, job: Job) -> None:
        new = tuple(step.trial.trial for step in job.steps if step.trial.trial not in self._started)
        first = tuple(step.trial.trial for step in job.steps if step.number == 1 and step.trial.trial in new)
        self._started |= set(new)
        if first:
            self._tell(Started(first))

    def _offer(self, packs: Sequence[tuple[Step, ...]], *, first: bool = False) -> None:
        jobs = [Job(self._count + place, steps) for place, steps in enumerate(packs)]
        self._count += len(jobs)
        self._jobs |= {job.number: job for job in jobs}
        if jobs:
            references = [(job.number, ray.put(job)) for job in jobs]
            ray.get(self._slots.offer.remote(self._run, references, first))


@dataclass(frozen=True)
class TuneSearch:
    """Runs campaigns with Ray Tune, in the Ray session that this process is connected to."""

    settings: DriverSettings

    def __call__(
        self,
        experiment: str,
        campaign: Campaign,
        trainer: Trainer,
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Run every step that the campaign asks for, and tell of each trial how it comes out.

        Lanes take jobs in turn with the lanes of other experiments. Where a worker dies its job is evaluated again,
        each step by itself, so that only the guilty one fails.

        Args:
            experiment: its name, which Tune's trainables and files go by.
            campaign: what is to be run.
            trainer: the family.
            grounds: by ticker; put into Ray's object store once.
            rules: of all trials.
            tell: takes outcomes, in the calling thread; what it raises ends the search.

        Raises:
            Refused: workers die before they have a trial, or the broker was lost (`workers_fail`, `slots_lost`).
        """
        os.environ.update(TUNE_ENVIRONMENT)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        cluster = cluster_for(self.settings, trainer, nodes, jobs=ceil(campaign.most / trainer.batch))
        slots = broker(self.settings.namespace)
        run = f"{experiment}.{uuid.uuid4().hex[:8]}"
        ray.get(slots.open.remote(run, cluster.cpus, cluster.slots, cluster.available))
        conductor = _Conductor(run, campaign, trainer, cluster.lanes, slots, tell)
        try:
            conductor.supply()
            if campaign.finished:
                return
            references = {ticker: reference(ground) for ticker, ground in grounds.items()}
            limits = Limits(self.settings.trial_seconds, self.settings.trial_memory_mb)
            work = Work(run, rules, references, max(1, int(cluster.cpus)), limits, slots)
            self._tune(run, ray.put(work), cluster, conductor)
        finally:
            ray.get(slots.close.remote(run))
            shutil.rmtree(self.settings.tune_dir / run, ignore_errors=True)
        if not campaign.finished:
            message = "the search ended before all of its trials; send the request again"
            raise Refused([Reason(code="slots_lost", message=message)])

    def _tune(self, run: str, work: Any, cluster: Cluster, conductor: _Conductor) -> None:
        # Two Tuners in one Ray session mix up trainables of the same name.
        trainable = f"lane-{run}"
        # Cores are shared out by the broker: a lane that waits for its turn must not hold any.
        needs = {"cpu": 0.001, "gpu": cluster.gpus}
        tune.register_trainable(trainable, tune.with_resources(LaneTrainable, needs))
        tune.Tuner(
            trainable,
            param_space={"lane": tune.grid_search(list(range(cluster.lanes))), "work": work},
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: trial.trial_id),
            run_config=tune.RunConfig(
                name=run,
                storage_path=str(self.settings.tune_dir),
                callbacks=[conductor],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=-1),
                verbose=0,
            ),
        ).fit()


def _error_of(trial: Any) -> str:
    text = Path(trial.error_file).read_text() if trial.error_file else "no more is known"
    return text.strip().rsplit("\n", 1)[-1]

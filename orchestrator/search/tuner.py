"""Running a campaign in lanes that Ray Tune keeps running."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.algorithms.base import Trainer
from orchestrator.core.errors import Refused
from orchestrator.search import lanes
from orchestrator.search.campaign import Campaign
from orchestrator.search.evaluation import MESSAGE_LENGTH, Ground, Rules
from orchestrator.search.guard import Limits
from orchestrator.search.outcomes import Failed, Outcome, Scored, Started
from orchestrator.search.plan import Job, Step, packed
from orchestrator.search.settings import DriverSettings
from orchestrator.search.slots import Begun, Broken, Done, Heard, Lost, broker, run_of
from orchestrator.search.streamed import reference
from orchestrator.search.work import Work
from schemas.base import Reason

AHEAD = 2
"""Jobs that are offered for each lane, so that none waits for the next to be thought of."""
LISTEN_SECONDS = 5.0
LOSSES = 2
"""Workers that die with a trial before it is that trial's fault: one may be killed for other reasons."""


@dataclass(frozen=True)
class Cluster:
    """What a run may take of the cluster: so many lanes at once, each of so many cores and GPUs."""

    lanes: int
    cpus: float
    gpus: float
    slots: int
    available: float


def cluster_for(
    settings: DriverSettings, trainer: Trainer, nodes: Sequence[Mapping[str, float]], *, streamed: bool = False
) -> Cluster:
    """How a family's trials fit a cluster of nodes with these resources.

    A trial takes what the settings say, else what the family asks for, and never more than the largest node has. Where
    features are streamed, each job goes through all of them, and workers on all nodes read them: they have all cores.
    """
    asked = trainer.resources
    available = sum(node.get("CPU", 0.0) for node in nodes)
    most = available if streamed else max((node.get("CPU", 0.0) for node in nodes), default=1.0)
    cpus = min(settings.cpus_per_trial or (available if streamed else asked.cpus), most)
    wanted = asked.gpus if settings.gpus_per_trial is None else settings.gpus_per_trial
    gpus = min(wanted, max((node.get("GPU", 0.0) for node in nodes), default=0.0))
    cpus = max(cpus, 0.1)
    lanes = max(1, min(settings.max_concurrent_trials, int(available // cpus)))
    return Cluster(lanes, cpus, gpus, settings.max_concurrent_trials, available)


class _Run:
    """A campaign's run: what is offered of it to the lanes, and what they make of it."""

    def __init__(
        self,
        run: str,
        campaign: Campaign,
        trainer: Trainer,
        cluster: Cluster,
        slots: Any,
        tell: Callable[[Outcome], None],
    ) -> None:
        self._run, self._campaign, self._trainer, self._slots, self._tell = run, campaign, trainer, slots, tell
        self._cluster = cluster
        self._jobs: dict[int, tuple[Job, Any]] = {}
        """Offered, and not come out yet; with the reference to its steps, which this process must keep."""
        self._count = 0
        self._losses: Counter[str] = Counter()
        """By trial: how often a worker died that had it."""
        self._started: set[str] = set()
        """Trials of jobs that have not come out."""

    def lead(self, work: Any) -> None:
        """Offer, hear and tell until the campaign is finished."""
        self._open(work)
        self._supply()
        while not self._campaign.finished:
            heard: list[Heard] | None = ray.get(self._slots.hear.remote(self._run, LISTEN_SECONDS))
            if heard is None:
                # The broker has begun anew.
                self._open(work)
                self._send(list(self._jobs.values()))
                continue
            for each in heard:
                self._hear(each)

    def _open(self, work: Any) -> None:
        cluster = self._cluster
        pool = lanes.pool_of(cluster.gpus)
        ray.get(self._slots.open.remote(self._run, [work], cluster.cpus, pool, cluster.slots, cluster.available))

    def _supply(self) -> None:
        """Offer what can start."""
        wanted = self._cluster.lanes * AHEAD * self._trainer.batch - sum(
            len(job.steps) for job, _ in self._jobs.values()
        )
        if wanted > 0:
            steps, told = self._campaign.ask(wanted)
            for outcome in told:
                self._tell(outcome)
            self._offer(packed(steps, lanes=self._cluster.lanes, batch=self._trainer.batch))

    def _offer(self, packs: Sequence[tuple[Step, ...]], *, first: bool = False) -> None:
        new = [(Job(self._count + place, steps), ray.put(steps)) for place, steps in enumerate(packs)]
        self._count += len(new)
        self._jobs |= {job.number: (job, steps) for job, steps in new}
        self._send(new, first=first)

    def _send(self, jobs: Sequence[tuple[Job, Any]], *, first: bool = False) -> None:
        if jobs:
            # One that does not know the run any more is told all of it when it is next listened to.
            self._slots.offer.remote(self._run, [(job.number, steps) for job, steps in jobs], first)

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard, Broken):
            message = f"workers end before they have a trial: {heard.error}"
            raise Refused([Reason(code="workers_fail", message=message[:MESSAGE_LENGTH])])
        # A broker that began anew may have had a job done twice.
        if heard.job not in self._jobs:
            return
        job, _ = self._jobs[heard.job]
        self._start(job)
        if isinstance(heard, Done):
            try:
                outcomes = ray.get(heard.outcomes[0])
            except ray.exceptions.ObjectLostError:
                self._lost(job, Lost(job.number, None, "its worker ended before its scores were fetched"))
            else:
                self._finish(job, outcomes)
        elif isinstance(heard, Lost):
            self._lost(job, heard)
        else:
            assert isinstance(heard, Begun)

    def _lost(self, job: Job, lost: Lost) -> None:
        self._losses.update(step.trial.trial for step in job.steps)
        trial = job.steps[0].trial.trial
        if len(job.steps) > 1 or (lost.blame is None and self._losses[trial] < LOSSES):
            # Each by itself, so that only the guilty one fails.
            del self._jobs[job.number]
            self._offer([(step,) for step in job.steps], first=True)
            return
        unknown = Reason(code="worker_failed", message=f"its worker failed: {lost.error}"[:MESSAGE_LENGTH])
        self._finish(job, [Failed(trial, (lost.blame or unknown,), 0.0)])

    def _finish(self, job: Job, outcomes: Sequence[Scored | Failed]) -> None:
        del self._jobs[job.number]
        self._started -= {step.trial.trial for step in job.steps}
        for outcome in outcomes:
            self._tell(outcome)
            for other in self._campaign.tell(outcome):
                self._tell(other)
        self._supply()

    def _start(self, job: Job) -> None:
        new = tuple(step.trial.trial for step in job.steps if step.trial.trial not in self._started)
        first = tuple(step.trial.trial for step in job.steps if step.begins and step.trial.trial in new)
        self._started |= set(new)
        if first:
            self._tell(Started(first))


@dataclass(frozen=True)
class TuneSearch:
    """Runs campaigns in lanes that Ray Tune keeps running, in the Ray session that this process is connected to."""

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

        Lanes take jobs of this and of other experiments in turn. Where a worker dies its job is evaluated again, each
        step by itself, so that only the guilty one fails.

        Args:
            experiment: its name.
            campaign: what is to be run.
            trainer: the family.
            grounds: by ticker; put into Ray's object store once.
            rules: of all trials.
            tell: takes outcomes, in the calling thread; what it raises ends the search.

        Raises:
            Refused: workers die before they have a trial (`workers_fail`).
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        streamed = any(ground.streamed is not None for ground in grounds.values())
        cluster = cluster_for(self.settings, trainer, nodes, streamed=streamed)
        lanes.start(self.settings, cluster.gpus)
        references = {ticker: reference(ground) for ticker, ground in grounds.items()}
        limits = Limits(self.settings.trial_seconds, self.settings.trial_memory_mb)
        work = ray.put(Work(rules, references, max(1, int(cluster.cpus)), limits))
        run = run_of(experiment)
        slots = broker(self.settings.namespace)
        try:
            _Run(run, campaign, trainer, cluster, slots, tell).lead(work)
        finally:
            ray.get(slots.close.remote(run))

"""Running a campaign in the calling thread: for small searches, benchmarks and tests that need no Ray."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.algorithms.base import Trainer
from orchestrator.search.campaign import Campaign
from orchestrator.search.evaluation import Bench, Ground, Rules, evaluate
from orchestrator.search.outcomes import Outcome, Started
from orchestrator.search.plan import Job, packed


@dataclass(frozen=True)
class InlineSearch:
    """A `Search` on the cores of this process."""

    threads: int = 1
    batch: int | None = None
    """Steps evaluated together; None: as the family likes it."""
    clock: Callable[[], float] = time.perf_counter

    def __call__(
        self,
        experiment: str,
        campaign: Campaign,
        trainer: Trainer,
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Run the campaign to its end, a job at a time; what `tell` raises ends it."""
        bench = Bench(trainer, rules, grounds.__getitem__, self.clock, self.threads)
        batch = self.batch or trainer.batch
        while not campaign.finished:
            steps, told = campaign.ask(batch)
            for outcome in told:
                tell(outcome)
            for number, pack in enumerate(packed(steps, lanes=1, batch=batch)):
                tell(Started(tuple(step.trial.trial for step in pack if step.begins)))
                for scored in evaluate(Job(number, pack), bench):
                    tell(scored)
                    for other in campaign.tell(scored):
                        tell(other)

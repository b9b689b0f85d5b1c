"""Answering an experiment from what is known: neither a driver nor a worker takes it up."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.algorithms.base import Trainer
from orchestrator.core.draft import Assembler
from orchestrator.core.errors import Refused
from orchestrator.features.sources import source_at
from orchestrator.search.campaign import Campaign
from orchestrator.search.course import MIB, Course
from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.memory import NotKnown
from orchestrator.search.outcomes import Outcome
from orchestrator.search.settings import DriverSettings
from orchestrator.store import experiments
from orchestrator.store.database import Database
from orchestrator.store.leases import Fenced, Lease
from orchestrator.store.terms import Term
from schemas.search import SearchRequest

LARGEST_MB = 256
"""MiB of rows that are read into this process, which has signals to answer; more of them are a driver's."""
AT_ONCE = 10_000
"""Steps that are looked up together."""


def from_memory(
    experiment: str,
    campaign: Campaign,
    trainer: Trainer,
    grounds: Mapping[str, Ground],
    rules: Rules,
    tell: Callable[[Outcome], None],
) -> None:
    """A `Search` that trains nothing.

    Raises:
        NotKnown: the campaign asks for a step that has to be trained.
    """
    while not campaign.finished:
        steps, told = campaign.ask(AT_ONCE)
        for outcome in told:
            tell(outcome)
        if steps:
            raise NotKnown(experiment, steps[0].trial.trial)


@dataclass(frozen=True)
class Answers:
    """Leads experiments in this process, as far as everything is known."""

    settings: DriverSettings
    assembler: Assembler
    clock: Callable[[], datetime]

    async def answer(self, experiment: str, lease: Lease) -> bool:
        """Lead an experiment to its end; False: it needs a driver, which goes on from wherever it stands then.

        Args:
            experiment: its id.
            lease: the right to lead it, kept meanwhile and given back afterwards.

        Raises:
            LeaseLost: another leads the experiment now; nothing more was written.
            DatabaseAway: it is led on where the database answers again.
        """
        # In a loop of its own: nobody else's waits while scores are compared.
        return await asyncio.to_thread(lambda: asyncio.run(self._answer(experiment, lease)))

    async def _answer(self, experiment: str, lease: Lease) -> bool:
        database = Database.open(self.settings.database_url)
        try:
            term = Term(database, lease, timedelta(seconds=self.settings.lease_seconds))
            return await term.during(self._led(experiment, Fenced(database, lease)))
        finally:
            await database.close()

    async def _led(self, experiment: str, database: Database) -> bool:
        async with database.snapshot() as tx:
            found = await experiments.get(tx, experiment)
        if not self.settings.recalls or not self._is_small(found.request):
            return False
        # What is small enough is not streamed, however little memory is left.
        settings = replace(self.settings, stream_above_mb=self._most)
        course = Course(experiment, settings, from_memory, self.assembler, database, self.clock, trains=False)
        try:
            await course.lead()
        except NotKnown:
            return False
        return True

    def _is_small(self, request: SearchRequest) -> bool:
        source = source_at(self.settings.features_dir, self.settings.features_db)
        span = request.timeframe, request.data_start, request.data_end
        try:
            extents = [source.extent(ticker, *span) for ticker in request.tickers]
        except Refused:
            # A driver says what is the matter with them.
            return False
        return sum(8 * extent.rows * (extent.columns + 1) for extent in extents) <= self._most * MIB

    @property
    def _most(self) -> int:
        """MiB."""
        above = self.settings.stream_above_mb
        return LARGEST_MB if above is None else min(LARGEST_MB, above)

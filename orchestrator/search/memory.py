"""What a search need not train, since it is known what comes of it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from orchestrator.search.outcomes import Scored
from orchestrator.search.plan import Step
from orchestrator.store import fingerprints
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Result


class NotKnown(Exception):
    """A search that trains nothing came to a step whose result is not known; the experiment goes on with a driver."""

    def __init__(self, experiment: str, trial: str) -> None:
        super().__init__(experiment, trial)
        self.experiment = experiment
        self.trial = trial

    def __str__(self) -> str:
        return f"{self.experiment}: what {self.trial} comes to is not known; a driver has to train it"


Recall = Callable[[Collection[str]], Mapping[str, Result]]
"""What is recorded of fingerprints, by fingerprint; may be asked from any thread but the one that answers."""


def nothing(wanted: Collection[str]) -> Mapping[str, Result]:
    """A `Recall` where nothing is recorded."""
    return {}


def recorded_in(database: Database, loop: asyncio.AbstractEventLoop) -> Recall:
    """A `Recall` of what the store has, for threads beside the loop that the database is bound to."""

    async def read(wanted: Collection[str]) -> Mapping[str, Result]:
        async with database.snapshot() as tx:
            return await fingerprints.results(tx, wanted)

    return lambda wanted: asyncio.run_coroutine_threadsafe(read(wanted), loop).result()


class Memory:
    """Results of one search, and those that it can `recall`.

    Args:
        experiment: whose search it is.
        recall: asked once for all steps that are looked up together.
    """

    def __init__(self, experiment: str, recall: Recall = nothing) -> None:
        self._experiment = experiment
        self._recall = recall
        self._own: dict[str, Result] = {}
        """Of what may not be written yet."""

    def keep(self, scored: Scored) -> None:
        """This search has trained it."""
        known = self._own.get(scored.fingerprint)
        if known is None or scored.whole:
            self._own[scored.fingerprint] = Result(
                self._experiment,
                scored.trial,
                scored.step,
                scored.whole,
                scored.metrics,
                scored.eligible,
                scored.reasons,
            )

    def look(self, steps: Sequence[Step]) -> list[Result | None]:
        """The result that stands for each step; None: it has to be trained."""
        unknown = {step.fingerprint for step in steps if not _stands(self._own.get(step.fingerprint), step)}
        recalled = self._recall(unknown) if unknown else {}
        found = [recalled.get(step.fingerprint, self._own.get(step.fingerprint)) for step in steps]
        return [result if _stands(result, step) else None for result, step in zip(found, steps, strict=True)]


def _stands(result: Result | None, step: Step) -> bool:
    """Whether a result can be the step's: a final score needs a history."""
    return result is not None and (result.whole or not step.last)

"""The one writer of an experiment's trials: outcomes come in from Tune's thread and are committed in batches."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.arrays import Integers
from orchestrator.core.deflation import moments
from orchestrator.search.outcomes import Failed, Outcome, Scored, Started
from orchestrator.search.plan import PlannedTrial
from orchestrator.store import experiments, ledger, trials
from orchestrator.store.database import Database
from orchestrator.store.ledger import LedgerRow
from schemas.experiments import ExperimentProgress

BATCH_SECONDS = 0.05
"""How long outcomes wait for others to share their commit."""
PROGRESS_SECONDS = 0.5
"""Between two progress events, at least."""


class RecordingStopped(Exception):
    """An outcome came in after the recorder had failed; what `Recorder.write` raised says why."""


@dataclass
class Progress:
    """How far an experiment is; `best` is the best value of its metric among eligible trials."""

    trials: int
    mode: Literal["max", "min"]
    finished: int = 0
    """With a score."""
    failed: int = 0
    best: float | None = None

    def scored(self, metric: float | None, eligible: bool) -> None:
        """Count a trial that has its score."""
        self.finished += 1
        if metric is not None and eligible:
            better = max if self.mode == "max" else min
            self.best = metric if self.best is None else better(self.best, metric)


@dataclass(frozen=True)
class Subject:
    """Whose trials are recorded."""

    experiment: str
    request_id: str
    lineage: str
    metric: str
    trials: Mapping[str, PlannedTrial]
    """Planned, by name."""


class Recorder:
    """Takes outcomes by `tell`, from any thread, and commits them in `write`, in the loop that it is made in.

    A trial's outcome, its event, its row in the lineage's ledger and the progress it makes are one transaction.
    """

    def __init__(self, database: Database, subject: Subject, progress: Progress, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._subject = subject
        self._progress = progress
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._failed = False
        self._told_at: datetime | None = None

    def tell(self, outcome: Outcome) -> None:
        """Hand in an outcome.

        Raises:
            RecordingStopped: nobody writes any more.
        """
        if self._failed:
            raise RecordingStopped(f"the outcomes of {self._subject.experiment} can no longer be written")
        self._loop.call_soon_threadsafe(self._queue.put_nowait, outcome)

    def end(self) -> None:
        """Nothing more will be told."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    async def write(self) -> None:
        """Commit outcomes until the end, and then how far the experiment has come.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store did not take them; `tell` raises from then on.
            TrialsNotOpen: another driver has ended the same trials.
        """
        ended = False
        try:
            while not ended:
                outcomes, ended = await self._batch()
                async with self._database.transaction() as tx:
                    await self._commit(tx, outcomes)
                    if ended or self._due():
                        await self._note_progress(tx)
        finally:
            self._failed = not ended

    async def _batch(self) -> tuple[list[Outcome], bool]:
        """What has come in since the last batch, and whether that is the end."""
        batch = [await self._queue.get()]
        if batch[0] is not None:
            await asyncio.sleep(BATCH_SECONDS)
        while batch[-1] is not None and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return [outcome for outcome in batch if outcome is not None], batch[-1] is None

    async def _commit(self, tx: AsyncSession, outcomes: Sequence[Outcome]) -> None:
        now, experiment = self._clock(), self._subject.experiment
        started = [name for outcome in outcomes if isinstance(outcome, Started) for name in outcome.trials]
        if started:
            await trials.start(tx, experiment, started, now)
        ended = [outcome for outcome in outcomes if not isinstance(outcome, Started)]
        if not ended:
            return
        await trials.finish(tx, experiment, [_row(outcome) for outcome in ended], now)
        await ledger.record(tx, [self._ledger_row(each) for each in ended if isinstance(each, Scored)], now)
        for outcome in ended:
            if isinstance(outcome, Scored):
                self._progress.scored(outcome.metrics.get(self._subject.metric), outcome.eligible)
            else:
                self._progress.failed += 1

    def _due(self) -> bool:
        return self._told_at is None or (self._clock() - self._told_at).total_seconds() >= PROGRESS_SECONDS

    async def _note_progress(self, tx: AsyncSession) -> None:
        self._told_at = self._clock()
        event = ExperimentProgress(
            experiment=self._subject.experiment,
            request_id=self._subject.request_id,
            sequence=0,
            emitted_at=self._told_at,
            finished=self._progress.finished,
            failed=self._progress.failed,
            trials=self._progress.trials,
            best=self._progress.best,
        )
        await experiments.note(tx, self._subject.experiment, event, self._told_at)

    def _ledger_row(self, scored: Scored) -> LedgerRow:
        planned = self._subject.trials[scored.trial]
        observed = moments(scored.session_profit)
        return LedgerRow(
            lineage=self._subject.lineage,
            fingerprint=planned.fingerprint,
            experiment=self._subject.experiment,
            ticker=planned.ticker,
            sharpe_per_session=None if observed is None else observed.sharpe,
            sessions=len(scored.session_ids),
            span_digest=span_digest(scored.session_ids),
            profit=scored.session_profit.astype(np.float32),
        )


def span_digest(session_ids: Integers) -> str:
    """What names the sessions (n,) that a profit is about."""
    return hashlib.sha256(session_ids.astype("<i8").tobytes()).hexdigest()


def _row(outcome: Scored | Failed) -> trials.Completed | trials.Failed:
    if isinstance(outcome, Failed):
        return trials.Failed(outcome.trial, outcome.reasons, outcome.seconds)
    return trials.Completed(
        trial=outcome.trial,
        metrics=dict(outcome.metrics),
        eligible=outcome.eligible,
        seconds=outcome.seconds,
        history=trials.History(outcome.prediction, outcome.session_profit),
        reasons=outcome.reasons,
    )

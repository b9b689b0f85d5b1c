"""The one writer of an experiment's trials: outcomes come in from Tune's thread and are committed in batches."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Literal

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.arrays import Integers
from orchestrator.core.canonical import digest
from orchestrator.core.deflation import moments
from orchestrator.core.profit import combined
from orchestrator.search.outcomes import Failed, GivenUp, Known, Outcome, Planned, Scored, Started
from orchestrator.search.plan import PlannedTrial
from orchestrator.search.streamed import Kept
from orchestrator.store import experiments, fingerprints, ledger, trials
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint
from orchestrator.store.ledger import LedgerRow
from schemas.experiments import ExperimentProgress

BATCH_SECONDS = 0.05
"""How long outcomes wait for others to share their commit."""
BATCH_PREDICTIONS = 2**22
"""Predictions of the outcomes that share one; the last of them may bring more."""
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
    """With their final score, or stopped early."""
    failed: int = 0
    cached: int = 0
    """Steps that were known."""
    best: float | None = None

    def scored(self, metric: float | None, eligible: bool, *, last: bool = True, cached: bool = False) -> None:
        """Take in a score; with its last one a trial is finished."""
        self.finished += last
        self.cached += cached
        if metric is not None and eligible:
            better = max if self.mode == "max" else min
            self.best = metric if self.best is None else better(self.best, metric)


@dataclass(frozen=True)
class Subject:
    """Whose trials are recorded."""

    experiment: str
    request_id: str
    lineages: Mapping[str, str]
    """By ticker."""
    data_hash: Mapping[str, str]
    """By ticker."""
    metric: str
    """What trials are compared by."""
    trials: Mapping[str, PlannedTrial]
    """Planned before, by name."""


class Recorder:
    """Takes outcomes by `tell`, from any thread, and commits them in `write`, in the loop that it is made in.

    A trial's outcome, its event, its fingerprint, its row in the lineage's ledger and the progress it makes are one
    transaction.

    Args:
        database: bound to that loop.
        subject: whose trials they are.
        progress: goes on from here.
        clock: the time.
        remembers: fingerprints are kept, for others to find.
    """

    def __init__(
        self,
        database: Database,
        subject: Subject,
        progress: Progress,
        clock: Callable[[], datetime],
        *,
        remembers: bool = True,
    ) -> None:
        self._remembers = remembers
        self._database = database
        self._subject = subject
        self._progress = progress
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._trials = dict(subject.trials)
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
            DatabaseAway: the store did not take them; `tell` raises from then on.
            TrialsNotOpen: another driver has ended the same trials.
        """
        ended = False
        try:
            while not ended:
                outcomes, ended = await self._batch()
                await self._database.commit(partial(self._write, outcomes, ended, replace(self._progress)))
                _forget(outcomes)
        finally:
            self._failed = not ended

    async def _write(self, outcomes: Sequence[Outcome], ended: bool, before: Progress, tx: AsyncSession) -> None:
        # Called again where two searches wait for each other's rows of the ledger: nothing is counted twice.
        self._progress = replace(before)
        await self._commit(tx, outcomes)
        if ended or self._due():
            await self._note_progress(tx)

    async def _batch(self) -> tuple[list[Outcome], bool]:
        """What has come in since the last batch, and whether that is the end."""
        batch = [await self._queue.get()]
        if batch[0] is not None:
            await asyncio.sleep(BATCH_SECONDS)
        predictions = _predictions(batch[0])
        while batch[-1] is not None and not self._queue.empty() and predictions < BATCH_PREDICTIONS:
            batch.append(self._queue.get_nowait())
            predictions += _predictions(batch[-1])
        return [outcome for outcome in batch if outcome is not None], batch[-1] is None

    async def _commit(self, tx: AsyncSession, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes in their order; those of one kind that follow each other are written together.

        What other experiments write, too, comes last and in one order, so that no two wait for each other.
        """
        for kind, group in groupby(outcomes, key=_kind):
            await kind(self, tx, list(group))
        trained = [outcome for outcome in outcomes if isinstance(outcome, Scored)]
        latest = {(row.lineage, row.fingerprint): row for each in trained for row in self._ledger_rows(each)}
        await ledger.record(tx, [latest[key] for key in sorted(latest)], self._clock())
        if self._remembers:
            steps = [
                Fingerprint(each.fingerprint, self._subject.experiment, each.trial, each.step, each.whole)
                for each in trained
            ]
            await fingerprints.record(tx, steps, self._clock())

    async def _planned(self, tx: AsyncSession, outcomes: Sequence[Planned]) -> None:
        new = [trial for outcome in outcomes for trial in outcome.trials]
        self._trials |= {trial.trial: trial for trial in new}
        rows = [row_of(trial, self._subject.data_hash) for trial in new]
        await trials.plan(tx, self._subject.experiment, rows, self._clock())

    async def _started(self, tx: AsyncSession, outcomes: Sequence[Started]) -> None:
        names = [name for outcome in outcomes for name in outcome.trials]
        await trials.start(tx, self._subject.experiment, names, self._clock())

    async def _reported(self, tx: AsyncSession, outcomes: Sequence[Scored | Known]) -> None:
        rows = [
            trials.Reported(
                each.trial,
                each.step,
                each.budget,
                dict(each.metrics),
                each.eligible,
                each.reasons,
                each.recorded_by if isinstance(each, Known) else None,
            )
            for each in outcomes
        ]
        await trials.report(tx, self._subject.experiment, rows, self._clock())
        whole = {each.trial: _history(each) for each in outcomes if isinstance(each, Scored) and each.whole}
        await trials.keep_histories(tx, self._subject.experiment, whole)
        self._scored(outcomes)

    async def _ended(self, tx: AsyncSession, outcomes: Sequence[Scored | Known | Failed]) -> None:
        await trials.finish(tx, self._subject.experiment, [_row(outcome) for outcome in outcomes], self._clock())
        self._scored([outcome for outcome in outcomes if not isinstance(outcome, Failed)])
        self._progress.failed += sum(isinstance(outcome, Failed) for outcome in outcomes)

    async def _given_up(self, tx: AsyncSession, outcomes: Sequence[GivenUp]) -> None:
        names = [name for outcome in outcomes for name in outcome.trials]
        await trials.stop(tx, self._subject.experiment, names, self._clock())
        self._progress.finished += len(names)

    def _scored(self, outcomes: Sequence[Scored | Known]) -> None:
        for each in outcomes:
            metric, known = each.metrics.get(self._subject.metric), isinstance(each, Known)
            self._progress.scored(metric, each.eligible, last=each.last, cached=known)

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
            cached=self._progress.cached,
        )
        await experiments.note(tx, self._subject.experiment, event, self._told_at)

    def _ledger_rows(self, scored: Scored) -> list[LedgerRow]:
        """One for each ticker of the trial."""
        planned = self._trials[scored.trial]
        rows = []
        for earned in scored.earned:
            observed = moments(earned.profit)
            rows.append(
                LedgerRow(
                    lineage=self._subject.lineages[earned.ticker],
                    fingerprint=planned.fingerprint,
                    experiment=self._subject.experiment,
                    ticker=earned.ticker,
                    sharpe_per_session=None if observed is None else observed.sharpe,
                    sessions=len(earned.session_ids),
                    span_digest=span_digest(earned.session_ids),
                    profit=earned.profit.astype(np.float32),
                )
            )
        return rows


def span_digest(session_ids: Integers) -> str:
    """What names the sessions (n,) that a profit is about."""
    return hashlib.sha256(session_ids.astype("<i8").tobytes()).hexdigest()


def row_of(trial: PlannedTrial, data_hash: Mapping[str, str]) -> trials.PlannedTrial:
    """A trial as the database takes it; `data_hash` is by ticker, of several tickers the digest of all."""
    hashes = [data_hash[ticker] for ticker in trial.tickers]
    return trials.PlannedTrial(
        trial=trial.trial,
        tickers=trial.tickers,
        configuration=dict(trial.configuration),
        fingerprint=trial.fingerprint,
        data_hash=hashes[0] if len(hashes) == 1 else digest(hashes),
        parent=trial.parent,
        inherited=[(dict(stage.configuration), stage.budget) for stage in trial.inherited],
    )


def _row(outcome: Scored | Known | Failed) -> trials.Ended:
    match outcome:
        case Failed():
            return trials.Failed(outcome.trial, outcome.reasons, outcome.seconds)
        case Known():
            return trials.Cached(
                trial=outcome.trial,
                metrics=dict(outcome.metrics),
                eligible=outcome.eligible,
                reasons=outcome.reasons,
                step=outcome.step,
                budget=outcome.budget,
                recorded_by=outcome.recorded_by,
                recorded_trial=outcome.recorded_trial,
            )
    return trials.Completed(
        trial=outcome.trial,
        metrics=dict(outcome.metrics),
        eligible=outcome.eligible,
        seconds=outcome.seconds,
        history=_history(outcome),
        reasons=outcome.reasons,
        step=outcome.step,
        budget=outcome.budget,
    )


def _history(scored: Scored) -> trials.History:
    _, profit = combined([(each.session_ids, each.profit) for each in scored.earned])
    # What is kept in files is of single precision there.
    precision = np.float32 if isinstance(scored.prediction, Kept) else np.float64
    return trials.History(np.asarray(scored.prediction, precision), profit)


def _predictions(outcome: Outcome | None) -> int:
    """How many an outcome brings."""
    return len(outcome.prediction) if isinstance(outcome, Scored) else 0


def _forget(outcomes: Sequence[Outcome]) -> None:
    """Delete the predictions that are kept in files; what is needed of them has been written."""
    for outcome in outcomes:
        if isinstance(outcome, Scored) and isinstance(outcome.prediction, Kept):
            outcome.prediction.forget()


def _kind(outcome: Outcome) -> Callable[..., Awaitable[None]]:
    """How an outcome is written."""
    match outcome:
        case Planned():
            return Recorder._planned
        case Started():
            return Recorder._started
        case GivenUp():
            return Recorder._given_up
        case Scored(last=False) | Known(last=False):
            return Recorder._reported
    return Recorder._ended

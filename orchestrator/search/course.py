"""One experiment's way from wherever it stands to its end; each step is one transaction."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.algorithms.base import trainer
from orchestrator.core.arrays import Floats
from orchestrator.core.draft import Assembler
from orchestrator.core.errors import Refused
from orchestrator.core.lifecycle import State
from orchestrator.core.survivors import Selection
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.appraisal import Appraisal, appraise, refit
from orchestrator.search.evaluation import Ground, Rules, reasons_of
from orchestrator.search.judgement import Luck, deflated, luck_of
from orchestrator.search.outcomes import Outcome
from orchestrator.search.plan import PlannedTrial
from orchestrator.search.recorder import Progress, Recorder, Subject
from orchestrator.search.selection import Wish, best_of, metric_of, survivors_of, told, wishes_of
from orchestrator.search.settings import DriverSettings
from orchestrator.search.study import Study, load, study_of
from orchestrator.search.verdict import Candidacy, settle
from orchestrator.store import experiments, ledger, requests, trials
from orchestrator.store.database import Database
from orchestrator.store.experiments import Experiment
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import Trial
from schemas.base import Reason
from schemas.experiments import ExperimentCompleted, ExperimentFailed, ExperimentStarted, SurvivorsSelected

log = logging.getLogger(__name__)

DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED)
"""States that a driver leads on from, in their order; from `deploying` on it is the deployer's."""
UNFINISHED = (TrialStatus.CREATED, TrialStatus.RUNNING)


class Search(Protocol):
    """Whoever evaluates trials."""

    def __call__(
        self,
        experiment: str,
        trials: Sequence[PlannedTrial],
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Tell of each trial `Started`, then `Scored` or `Failed`; what `tell` raises ends the search."""
        ...


@dataclass(frozen=True)
class Course:
    """Leads one experiment on. Begun again after a crash, it goes on from the last step that was committed."""

    experiment: str
    settings: DriverSettings
    search: Search
    assembler: Assembler
    database: Database
    clock: Callable[[], datetime]

    async def lead(self) -> None:
        """Search, select, judge and propose, as far as that is not done yet; what goes wrong fails the experiment.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store does not even take that.
        """
        try:
            await self._go_on()
        except Refused as refused:
            await self._fail(refused.reasons)
        except Exception as error:
            log.exception("experiment %s failed", self.experiment)
            await self._fail(reasons_of(error))

    async def _go_on(self) -> None:
        found = await self._found()
        if found.state not in DRIVEN or found.verdict is not None:
            return
        study = await self._study(found)
        steps = (self._begin, self._search, self._select, self._settle)
        for step in steps[DRIVEN.index(found.state) :]:
            await step(found, study)

    async def _fail(self, reasons: tuple[Reason, ...]) -> None:
        """End the experiment as failed."""
        now = self.clock()
        async with self.database.transaction() as tx:
            found = await experiments.take(tx, self.experiment)
            event = ExperimentFailed(
                experiment=found.id, request_id=found.request_id, sequence=0, emitted_at=now, reasons=reasons
            )
            await experiments.advance(tx, found.id, State.FAILED, event, now)

    async def _found(self) -> Experiment:
        async with self.database.snapshot() as tx:
            return await experiments.get(tx, self.experiment)

    async def _study(self, found: Experiment) -> Study:
        def prepared() -> Study:
            source = ParquetFeatures(self.settings.features_dir)
            algorithm = trainer(found.request.algorithm)
            return study_of(found.request, load(source, found.request), algorithm, self.settings)

        study = await asyncio.to_thread(prepared)
        async with self.database.snapshot() as tx:
            known = await trials.of_experiment(tx, found.id)
        if faults := _changed(study.trials, known):
            raise Refused(faults)
        return study

    async def _begin(self, found: Experiment, study: Study) -> None:
        """The experiment is running, and its trials are planned."""
        now = self.clock()
        event = ExperimentStarted(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            trials=len(study.trials),
            data_hash=study.data_hash,
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.RUNNING, event, now)
            await trials.plan(tx, found.id, [_row(trial, study) for trial in study.trials], now)

    async def _search(self, found: Experiment, study: Study) -> None:
        """Every trial that has not ended is run, and the search is over."""
        async with self.database.snapshot() as tx:
            known = await trials.of_experiment(tx, found.id)
        unfinished = {trial.trial for trial in known if trial.status in UNFINISHED}
        await self._evaluate(found, study, [trial for trial in study.trials if trial.trial in unfinished], known)
        async with self.database.snapshot() as tx:
            ended = await trials.of_experiment(tx, found.id)
            best = best_of(study, ended)
            record = (await trials.histories(tx, found.id, [best.trial]))[best.trial] if best else None
            began = (await experiments.get(tx, found.id)).started_at
        if left := [trial.trial for trial in ended if trial.status in UNFINISHED]:
            message = f"the search is over, but {len(left)} trials were not evaluated, the first of them {left[0]}"
            raise Refused([Reason(code="trials_left", message=message)])
        luck = await self._luck(study)
        now = self.clock()
        event = ExperimentCompleted(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            finished=sum(trial.status is TrialStatus.COMPLETED for trial in ended),
            failed=sum(trial.status is TrialStatus.FAILED for trial in ended),
            best=metric_of(study, best) if best else None,
            deflated_sharpe=deflated(record.profit, luck) if record else None,
            seconds=(now - (began or now)).total_seconds(),
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.SEARCHED, event, now)

    async def _evaluate(
        self, found: Experiment, study: Study, todo: Sequence[PlannedTrial], known: Sequence[Trial]
    ) -> None:
        if not todo:
            return
        progress = Progress(len(study.trials), study.mode)
        for trial in known:
            if trial.status is TrialStatus.COMPLETED:
                progress.scored(metric_of(study, trial), bool(trial.eligible))
            progress.failed += trial.status is TrialStatus.FAILED
        subject = Subject(
            found.id, found.request_id, study.lineage, study.metric, {trial.trial: trial for trial in study.trials}
        )
        recorder = Recorder(self.database, subject, progress, self.clock)
        writing = asyncio.create_task(recorder.write())
        try:
            await asyncio.to_thread(self.search, found.id, todo, study.grounds, study.rules, recorder.tell)
        finally:
            # What was told is written even where the search broke off; where writing failed, this says why.
            recorder.end()
            await writing

    async def _select(self, found: Experiment, study: Study) -> None:
        """The survivors are known. Of the founding request: others that attached may keep more or fewer."""
        known, predictions = await self._records(found)
        selection = survivors_of(study, known, predictions, found.request.deploy.top_n)
        now = self.clock()
        event = SurvivorsSelected(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            survivors=told(selection, study),
            passed_over=selection.passed_over,
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.SELECTED, event, now)

    async def _settle(self, found: Experiment, study: Study) -> None:
        """Every ensemble that is wished for is assembled and judged; those that may be deployed are proposed."""
        known, predictions = await self._records(found)
        async with self.database.snapshot() as tx:
            wishes = wishes_of(await requests.deploy_clauses(tx, found.id), found.request_id)
        chosen = {wish: survivors_of(study, known, predictions, wish.deploy.top_n) for wish in wishes}
        candidacies = await asyncio.to_thread(self._candidacies, study, chosen)
        luck = await self._luck(study)
        async with self.database.transaction() as tx:
            await settle(tx, found, study, candidacies, luck, self.settings.gate_override, self.clock())

    def _candidacies(self, study: Study, chosen: Mapping[Wish, Selection]) -> list[Candidacy]:
        names = frozenset(kept.contender.trial for selection in chosen.values() for kept in selection.kept)
        predictors = refit(study, trainer(study.rules.algorithm), names)

        def appraised(wish: Wish, selection: Selection) -> Appraisal | None:
            if not selection.kept:
                return None
            return appraise(self.experiment, study, selection, predictors, wish.deploy, self.assembler, self.settings)

        return [Candidacy(wish, appraised(wish, selection)) for wish, selection in chosen.items()]

    async def _luck(self, study: Study) -> Luck:
        # Outside of any transaction that writes: a long ledger takes a while to read.
        async with self.database.snapshot() as tx:
            return luck_of(await ledger.of_lineage(tx, study.lineage))

    async def _records(self, found: Experiment) -> tuple[list[Trial], dict[str, Floats]]:
        """Every trial, and the out-of-fold predictions of those that have a score."""
        async with self.database.snapshot() as tx:
            known = await trials.of_experiment(tx, found.id)
            records = await trials.histories(tx, found.id, [trial.trial for trial in known])
        return known, {trial: record.prediction for trial, record in records.items()}


def _row(trial: PlannedTrial, study: Study) -> trials.PlannedTrial:
    return trials.PlannedTrial(
        trial=trial.trial,
        tickers=(trial.ticker,),
        configuration=dict(trial.configuration),
        fingerprint=trial.fingerprint,
        data_hash=study.data_hash[trial.ticker],
    )


def _changed(planned: Sequence[PlannedTrial], known: Sequence[Trial]) -> tuple[Reason, ...]:
    """Why results that are there already cannot be gone on with."""
    before = {trial.trial: trial.fingerprint for trial in known}
    if not known or before == {trial.trial: trial.fingerprint for trial in planned}:
        return ()
    message = (
        "its bars, the algorithm's version or the service's settings have changed since it began, so that finished "
        "trials cannot be compared with new ones; send the request again under another name"
    )
    return (Reason(code="changed_since_start", message=message),)

"""One experiment's way from wherever it stands to its end; each step is one transaction."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.algorithms.base import Trainer, trainer
from orchestrator.core.arrays import Floats
from orchestrator.core.draft import Assembler
from orchestrator.core.errors import Refused
from orchestrator.core.lifecycle import State
from orchestrator.core.survivors import Selection
from orchestrator.features.sources import source_at
from orchestrator.search.appraisal import Appraisal, appraise, refit
from orchestrator.search.campaign import Campaign, Past
from orchestrator.search.evaluation import Ground, Rules, reasons_of
from orchestrator.search.judgement import deflated, luck_of
from orchestrator.search.memory import Memory, NotKnown, recorded_in
from orchestrator.search.outcomes import Known, Outcome, Scored
from orchestrator.search.plan import PlannedTrial, Stage, Step
from orchestrator.search.populations import populations_of
from orchestrator.search.reading import read
from orchestrator.search.recorder import Progress, Recorder, Subject
from orchestrator.search.selection import Wish, best_of, metric_of, survivors_of, told, wishes_of
from orchestrator.search.settings import DriverSettings, working_folder
from orchestrator.search.streamed import emptied, mapped, shared
from orchestrator.search.study import Study, study_of
from orchestrator.search.verdict import Candidacy, settle
from orchestrator.store import experiments, ledger, requests, trials, wishes
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, LeaseLost
from orchestrator.store.experiments import Experiment
from orchestrator.store.ledger import LedgerRow
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import Trial
from schemas.base import Reason
from schemas.experiments import ExperimentCompleted, ExperimentFailed, ExperimentStarted, SurvivorsSelected

log = logging.getLogger(__name__)

DRIVEN = (State.WAITING, State.RUNNING, State.SEARCHED, State.SELECTED)
"""States that a driver leads on from, in their order; from `deploying` on it is the deployer's."""
UNFINISHED = (TrialStatus.CREATED, TrialStatus.RUNNING)
MIB = 2**20


class Search(Protocol):
    """Whoever evaluates trials."""

    def __call__(
        self,
        experiment: str,
        campaign: Campaign,
        trainer: Trainer,
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Run the campaign to its end, and tell what becomes of each trial; what `tell` raises ends the search."""
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
    trains: bool = True
    """The search does; else it counts only what is known."""

    async def lead(self) -> None:
        """Search, select, judge and propose, as far as that is not done yet; what goes wrong fails the experiment.

        Raises:
            NotKnown: the search trains nothing, and something has to be; the experiment can be led on.
            DatabaseAway: nothing is the experiment's fault; whoever launches may try again.
            LeaseLost: another leads the experiment now; nothing more was written.
        """
        try:
            await self._go_on()
        except (NotKnown, DatabaseAway, LeaseLost):
            raise
        except Refused as refused:
            await self._fail(refused.reasons)
        except Exception as error:
            log.exception("experiment %s failed", self.experiment)
            await self._fail(reasons_of(error))

    async def _go_on(self) -> None:
        found = await self._found()
        if found.verdict is not None:
            await self._fulfil(found)
            return
        if found.state not in DRIVEN:
            return
        with emptied(self._folder):
            study = await self._study(found)
            steps = (self._begin, self._search, self._select, self._settle_own)
            for step in steps[DRIVEN.index(found.state) :]:
                await step(found, study)

    async def _fulfil(self, found: Experiment) -> None:
        """What commands wish for of an experiment that was judged before is settled as its requests' own wishes were.

        Raises:
            Refused: what was found then is not there any more.
        """
        async with self.database.snapshot() as tx:
            asked = await wishes.of_experiment(tx, found.id)
            known, steps = await trials.of_experiment(tx, found.id), await trials.steps(tx, found.id)
        if not asked:
            return
        with emptied(self._folder):
            study = await self._study(_as_of_its_start(found))
            if faults := _changed(study, known, {trial.trial: _planned(trial) for trial in known}, steps):
                raise Refused(faults)
            wanted = [Wish(each.command_id, each.deploy, commanded=True) for each in asked]
            await self._settle(found, study, wanted)

    async def _fail(self, reasons: tuple[Reason, ...]) -> None:
        """End the experiment as failed; where it was judged before, what is wished for of it."""
        now = self.clock()
        async with self.database.transaction() as tx:
            found = await experiments.take(tx, self.experiment)
            if found.verdict is not None:
                await wishes.refuse(tx, found.id, reasons, now)
                return
            event = ExperimentFailed(
                experiment=found.id, request_id=found.request_id, sequence=0, emitted_at=now, reasons=reasons
            )
            await experiments.advance(tx, found.id, State.FAILED, event, now)

    async def _found(self) -> Experiment:
        async with self.database.snapshot() as tx:
            return await experiments.get(tx, self.experiment)

    @property
    def _folder(self) -> Path:
        """Where predictions lie that are larger than memory."""
        return working_folder(self.settings.tune_dir) / self.experiment

    async def _study(self, found: Experiment) -> Study:
        def prepared() -> Study:
            source = source_at(self.settings.features_dir, self.settings.features_db)
            algorithm, above = trainer(found.request.algorithm), self.settings.stream_above_mb
            bars, streams = read(
                source,
                found.request,
                algorithm,
                memory=psutil.virtual_memory().available,
                stream_above=None if above is None else above * MIB,
            )
            # What was judged is made of bars that were looked at then: their hash is compared.
            judges = self.trains and found.verdict is None
            study = study_of(found.request, bars, algorithm, self.settings, streams, self._folder, judges=judges)
            if not streams:
                return study
            return replace(study, grounds={ticker: shared(ground) for ticker, ground in study.grounds.items()})

        return await asyncio.to_thread(prepared)

    async def _begin(self, found: Experiment, study: Study) -> None:
        """The experiment is running."""
        now = self.clock()
        event = ExperimentStarted(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            trials=found.trials,
            data_hash=study.data_hash,
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.RUNNING, event, now)

    async def _search(self, found: Experiment, study: Study) -> None:
        """Every trial that has not ended is run, and the search is over."""
        await self._evaluate(found, study)
        async with self.database.snapshot() as tx:
            ended = await trials.of_experiment(tx, found.id)
            best = best_of(study, ended)
            record = (await trials.histories(tx, found.id, [best.trial]))[best.trial] if best else None
            began = (await experiments.get(tx, found.id)).started_at
            cached = _cached(await trials.steps(tx, found.id))
        if left := [trial.trial for trial in ended if trial.status in UNFINISHED]:
            message = f"the search is over, but {len(left)} trials were not evaluated, the first of them {left[0]}"
            raise Refused([Reason(code="trials_left", message=message)])
        luck = luck_of(await self._ledger(study), together=study.together)
        now = self.clock()
        event = ExperimentCompleted(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            finished=sum(trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED_EARLY) for trial in ended),
            failed=sum(trial.status is TrialStatus.FAILED for trial in ended),
            best=metric_of(study, best) if best else None,
            deflated_sharpe=deflated(record.profit, luck) if record else None,
            seconds=(now - (began or now)).total_seconds(),
            cached=cached,
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.SEARCHED, event, now)

    async def _evaluate(self, found: Experiment, study: Study) -> None:
        async with self.database.snapshot() as tx:
            known = await trials.of_experiment(tx, found.id)
            steps = await trials.steps(tx, found.id)
        planned = {trial.trial: _planned(trial) for trial in known}
        if faults := _changed(study, known, planned, steps):
            raise Refused(faults)

        def score_of(scored: Scored | Known) -> float | None:
            return _higher_is_better(study, scored.metrics, eligible=scored.eligible)

        algorithm = trainer(found.request.algorithm)
        campaign = Campaign(
            populations_of(found.request, algorithm, self.settings),
            study.fingerprint,
            score_of,
            {trial.trial: _past(trial, steps.get(trial.trial, {}), study) for trial in known},
            accumulates=algorithm.budget.accumulates,
            memory=self._memory(found.id),
        )
        progress = Progress(campaign.most, study.mode, cached=_cached(steps))
        for trial in known:
            if trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED_EARLY):
                progress.scored(metric_of(study, trial), bool(trial.eligible))
            progress.failed += trial.status is TrialStatus.FAILED
        subject = Subject(found.id, found.request_id, study.lineages, study.data_hash, study.metric, planned)
        remembers = self.settings.use_fingerprint_db
        recorder = Recorder(self.database, subject, progress, self.clock, remembers=remembers)
        writing = asyncio.create_task(recorder.write())
        try:
            await asyncio.to_thread(
                self.search, found.id, campaign, algorithm, study.grounds, study.rules, recorder.tell
            )
        finally:
            # What was told is written even where the search broke off; where writing failed, this says why.
            recorder.end()
            await writing

    def _memory(self, experiment: str) -> Memory | None:
        """What need not be trained, as far as the settings let it count."""
        if not self.settings.skip_duplicate:
            return None
        if not self.settings.use_fingerprint_db:
            return Memory(experiment)
        return Memory(experiment, recorded_in(self.database, asyncio.get_running_loop()))

    async def _select(self, found: Experiment, study: Study) -> None:
        """The survivors are known. Of the founding request: others that attached may keep more or fewer."""
        known, predictions = await self._records(found, study)
        selection = survivors_of(study, known, predictions, found.request.deploy.top_n)
        now = self.clock()
        event = SurvivorsSelected(
            experiment=found.id,
            request_id=found.request_id,
            sequence=0,
            emitted_at=now,
            survivors=told(selection),
            passed_over=selection.passed_over,
            effective_votes=dict(selection.effective_votes),
        )
        async with self.database.transaction() as tx:
            await experiments.advance(tx, found.id, State.SELECTED, event, now)

    async def _settle_own(self, found: Experiment, study: Study) -> None:
        """Every ensemble that its requests wish for is settled."""
        async with self.database.snapshot() as tx:
            wanted = wishes_of(await requests.deploy_clauses(tx, found.id), found.request_id)
        await self._settle(found, study, wanted)

    async def _settle(self, found: Experiment, study: Study, wanted: Sequence[Wish]) -> None:
        """Every ensemble that is wished for is assembled and judged; those that may be deployed are proposed."""
        known, predictions = await self._records(found, study)
        async with self.database.snapshot() as tx:
            steps = await trials.steps(tx, found.id)
        if lost := [
            each.trial for each in known if each.status is TrialStatus.COMPLETED and each.trial not in predictions
        ]:
            raise Refused([_forgotten(lost)])
        chosen = {wish: survivors_of(study, known, predictions, wish.deploy.top_n) for wish in wanted}
        names = {kept.contender.trial for selection in chosen.values() for kept in selection.kept}
        algorithm = trainer(study.rules.algorithm)
        last = [
            _last_step(trial, steps[trial.trial], accumulates=algorithm.budget.accumulates)
            for trial in known
            if trial.trial in names
        ]
        candidacies = await asyncio.to_thread(self._candidacies, study, chosen, algorithm, last)
        rows = await self._ledger(study)

        async def judged(tx: AsyncSession) -> None:
            await settle(tx, found, study, candidacies, rows, self.settings.gate_override, self.clock())

        await self.database.commit(judged)

    def _candidacies(
        self, study: Study, chosen: Mapping[Wish, Selection], algorithm: Trainer, steps: Sequence[Step]
    ) -> list[Candidacy]:
        predictors = refit(study, algorithm, steps, threads=1)

        def appraised(wish: Wish, selection: Selection) -> Appraisal | None:
            if not selection.kept:
                return None
            return appraise(self.experiment, study, selection, predictors, wish.deploy, self.assembler, self.settings)

        return [Candidacy(wish, appraised(wish, selection)) for wish, selection in chosen.items()]

    async def _ledger(self, study: Study) -> list[LedgerRow]:
        # Outside of any transaction that writes: a long ledger takes a while to read.
        async with self.database.snapshot() as tx:
            return await ledger.of_lineages(tx, tuple(study.lineages.values()))

    async def _records(self, found: Experiment, study: Study) -> tuple[list[Trial], dict[str, Floats]]:
        """Every trial, and the out-of-fold predictions of those that are completed."""
        async with self.database.snapshot() as tx:
            known = await trials.of_experiment(tx, found.id)
            completed = [trial.trial for trial in known if trial.status is TrialStatus.COMPLETED]
            if not study.streamed:
                records = await trials.histories(tx, found.id, completed)
                return known, {name: each.prediction.astype(np.float64, copy=False) for name, each in records.items()}
            # All of them may be larger than memory.
            predictions: dict[str, Floats] = {}
            for name in completed:
                for record in (await trials.histories(tx, found.id, [name])).values():
                    predictions[name] = mapped(self._folder / f"{name}.npy", record.prediction)
        return known, predictions


def _as_of_its_start(found: Experiment) -> Experiment:
    """The experiment as it asked for bars then: a request without an end takes those that have come since, too."""
    if found.request.data_end is not None:
        return found
    return replace(found, request=found.request.model_copy(update={"data_end": found.started_at}))


def _forgotten(lost: Sequence[str]) -> Reason:
    message = (
        f"the predictions of {len(lost)} trials are kept no longer, the first of them {lost[0]}: send the request "
        "again under another name, with a deploy clause"
    )
    return Reason(code="predictions_forgotten", message=message)


def _cached(steps: Mapping[str, Mapping[int, trials.Reported]]) -> int:
    """How many of the steps were known."""
    return sum(step.recorded_by is not None for each in steps.values() for step in each.values())


def _planned(trial: Trial) -> PlannedTrial:
    """A trial of the database as the search knows it."""
    inherited = tuple(Stage(configuration, budget) for configuration, budget in trial.inherited)
    return PlannedTrial(trial.trial, trial.tickers, trial.configuration, trial.fingerprint, trial.parent, inherited)


def _last_step(trial: Trial, steps: Mapping[int, trials.Reported], *, accumulates: bool) -> Step:
    """A completed trial with all that it was trained by."""
    planned = _planned(trial)
    stages = (*planned.inherited, *(Stage(trial.configuration, step.budget) for step in steps.values()))
    return Step(planned, max(steps), stages if accumulates else stages[-1:])


def _past(trial: Trial, steps: Mapping[int, trials.Reported], study: Study) -> Past:
    scores = {number: _higher_is_better(study, step.metrics, eligible=step.eligible) for number, step in steps.items()}
    return Past(
        trial.configuration,
        scores,
        ended=trial.status not in UNFINISHED,
    )


def _higher_is_better(study: Study, metrics: Mapping[str, float | None], *, eligible: bool) -> float | None:
    """What populations compare; None where it is not defined, or the trial would never be selected."""
    metric = metrics.get(study.metric) if eligible else None
    return metric if metric is None or study.mode == "max" else -metric


def _changed(
    study: Study,
    known: Sequence[Trial],
    planned: Mapping[str, PlannedTrial],
    steps: Mapping[str, Mapping[int, trials.Reported]],
) -> tuple[Reason, ...]:
    """Why results that are there already cannot be gone on with."""

    def now(trial: PlannedTrial) -> str:
        first = Stage(trial.configuration, steps[trial.trial][1].budget)
        return study.fingerprint(trial, (*trial.inherited, first))

    # A trial without a step has no result yet.
    scored = [planned[trial.trial] for trial in known if trial.trial in steps]
    if all(now(trial) == trial.fingerprint for trial in scored):
        return ()
    message = (
        "its bars, the algorithm's version or the service's settings have changed since it began, so that finished "
        "trials cannot be compared with new ones; send the request again under another name"
    )
    return (Reason(code="changed_since_start", message=message),)

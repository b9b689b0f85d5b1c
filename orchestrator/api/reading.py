"""What is shown of the database: queries in, views out. Each call is one snapshot; nothing here changes anything.

Names that nothing goes by raise `NotFound`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.api.views import (
    Dot,
    Earned,
    EnsembleDetail,
    EnsembleLine,
    ExperimentDetail,
    ExperimentLine,
    FingerprintLine,
    FingerprintStats,
    MemberLine,
    Point,
    Slice,
    Step,
    TrialDetail,
    TrialLine,
    VersionLine,
)
from orchestrator.core.calendar import calendar_named
from orchestrator.core.lifecycle import SEARCHING, State
from orchestrator.core.metrics import OBJECTIVE, is_together
from orchestrator.core.performance import Account
from orchestrator.core.versions import VersionState
from orchestrator.store import commands, ensembles, experiments, fingerprints, listing, models, performance, trials
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from orchestrator.store.listing import ExperimentsWanted, Page, Trained, TrialsWanted
from orchestrator.store.tables import TrialStatus
from orchestrator.store.trials import Trial
from schemas.base import JsonObject, Mode
from schemas.experiments import Survivor

MOST_DOTS = 10_000
_SURVIVORS = TypeAdapter(tuple[Survivor, ...])


class NotFound(LookupError):
    """Nothing goes by a name.

    Attributes:
        what: experiment, trial or ensemble.
        name: that was asked for.
        detail: what is to be said besides; nothing where the name says all.
    """

    def __init__(self, what: str, name: str, detail: str = "") -> None:
        self.what = what
        self.name = name
        super().__init__(f"there is no {what} {name}{detail}")


@dataclass(frozen=True)
class Aim:
    """What a search optimises where its request does not say: `Limits.metric` and `Limits.mode`."""

    metric: str = "sharpe_ratio"
    mode: str = "max"

    def of(self, found: Experiment) -> "Aim":
        """What an experiment optimises, as its trials have it."""
        metric = OBJECTIVE if is_together(found.request) else self.asked(found)
        return Aim(metric, found.request.mode or self.mode)

    def asked(self, found: Experiment) -> str:
        """The metric that it was asked for by."""
        return found.request.metric or self.metric


class Reading:
    """Reads one database.

    Args:
        database: bound to the running loop.
        aim: where requests do not say.
    """

    def __init__(self, database: Database, aim: Aim) -> None:
        self._database = database
        self._aim = aim

    async def experiments(self, wanted: ExperimentsWanted, page: Page) -> Slice[ExperimentLine]:
        """A page of experiments; `page.order` is a `listing.ExperimentOrder`."""
        async with self._database.snapshot() as tx:
            total, found = await listing.page_of_experiments(tx, wanted, page)
        return Slice(total=total, offset=page.offset, items=tuple(self._line(each) for each in found))

    async def states(self) -> dict[State, int]:
        """How many experiments are where."""
        async with self._database.snapshot() as tx:
            return await listing.count_by_state(tx)

    async def experiment(self, name: str, wanted: TrialsWanted, page: Page) -> ExperimentDetail:
        """An experiment and a page of its trials; `page.order` is a column or a metric, "metric" the one it optimises.

        Raises:
            NotFound: no experiment goes by that name.
        """
        async with self._database.snapshot() as tx:
            found = await _named(tx, name)
            total, lines = await self._trials(tx, found, wanted, page)
            counts = await trials.tally(tx, found.id)
            aliases = await experiments.aliases(tx, found.id)
        selection = found.selection or {}
        return ExperimentDetail.model_validate(
            {
                **dict(self._line(found)),
                "request": found.request,
                "aliases": aliases,
                "verdict": found.verdict,
                "survivors": _SURVIVORS.validate_python(selection.get("survivors", ()), strict=False),
                "passed_over": selection.get("passed_over", ()),
                "effective_votes": selection.get("effective_votes", {}),
                "by_status": counts,
                "total_trials": total,
                "offset": page.offset,
                "all_trials": lines,
            }
        )

    async def line(self, name: str) -> ExperimentLine:
        """An experiment without its trials.

        Raises:
            NotFound: none goes by that name.
        """
        async with self._database.snapshot() as tx:
            return self._line(await _named(tx, name))

    async def request(self, request_id: str) -> listing.Asked | None:
        """What became of a search request; None: it has not come in yet."""
        async with self._database.snapshot() as tx:
            return await listing.asked(tx, request_id)

    async def command(self, command_id: str) -> commands.Standing | None:
        """What became of a command; None: it has not come in yet."""
        async with self._database.snapshot() as tx:
            return await commands.standing(tx, command_id)

    async def model(self, *names: str) -> str | None:
        """The digest of the model that is registered under the first of some names, or digests, that there is."""
        async with self._database.snapshot() as tx:
            for name in names:
                if (found := await models.named(tx, name)) is not None:
                    return found.digest
        return None

    async def top(self, name: str, count: int) -> tuple[TrialLine, ...]:
        """The best eligible trials of an experiment by what it optimises, best first.

        Raises:
            NotFound: no experiment goes by that name.
        """
        async with self._database.snapshot() as tx:
            found = await _named(tx, name)
            aim = self._aim.of(found)
            best = TrialsWanted(statuses=(TrialStatus.COMPLETED,), eligible=True, scored_by=aim.metric)
            page = Page("metric", descending=aim.mode == "max", limit=count)
            return (await self._trials(tx, found, best, page))[1]

    async def trial(self, name: str, trial: str) -> TrialDetail:
        """A trial of an experiment, with its steps and its profit.

        Raises:
            NotFound: no experiment goes by that name, or it has no such trial.
        """
        async with self._database.snapshot() as tx:
            found = await _named(tx, name)
            one = await trials.named(tx, found.id, trial)
            if one is None:
                raise NotFound("trial", trial)
            scores = await trials.steps_of(tx, found.id, trial)
            history = (await trials.histories(tx, found.id, [trial])).get(trial)
        last = scores[-1] if scores else None
        line = _trial_line(one, None if last is None else Trained(last.step, last.budget, last.recorded_by))
        steps = [{name: getattr(each, name) for name in Step.model_fields} for each in scores]
        profit = None if history is None else tuple(map(float, history.profit))
        return TrialDetail.model_validate({**dict(line), "step_scores": steps, "profit": profit})

    async def best_so_far(self, name: str) -> tuple[Point, ...]:
        """The trials that were better than all before them, in their order: the steps of a curve.

        Raises:
            NotFound: no experiment goes by that name.
        """
        async with self._database.snapshot() as tx:
            found = await _named(tx, name)
            aim = self._aim.of(found)
            points = await listing.best_so_far(tx, found.id, aim.metric, aim.mode)
        return tuple(Point.model_validate(vars(each)) for each in points)

    async def dots(self, name: str, limit: int = MOST_DOTS) -> tuple[Dot, ...]:
        """All trials with configuration, parent and metric: for lineage, importance and parallel coordinates.

        Raises:
            NotFound: no experiment goes by that name.
        """
        async with self._database.snapshot() as tx:
            found = await _named(tx, name)
            sketches = await listing.sketches(tx, found.id, self._aim.of(found).metric, limit)
        return tuple(Dot.model_construct(**vars(each)) for each in sketches)

    async def ensembles(self) -> tuple[EnsembleLine, ...]:
        """Every ensemble, by name."""
        async with self._database.snapshot() as tx:
            known = {name: await ensembles.versions(tx, name) for name in await ensembles.names(tx)}
        return tuple(_ensemble_line(name, versions) for name, versions in known.items())

    async def ensemble(self, name: str) -> EnsembleDetail:
        """An ensemble.

        Raises:
            NotFound: there is none of that name.
        """
        async with self._database.snapshot() as tx:
            versions = await ensembles.versions(tx, name)
            accounts = await performance.of(tx, name)
        if not versions:
            raise NotFound("ensemble", name)
        serving = ensembles.serving_of(versions)
        return EnsembleDetail(
            name=name,
            serving_version=None if serving is None else serving.version,
            versions=tuple(map(VersionLine.of, versions)),
            members=_members((serving or versions[-1]).manifest),
            # A calendar takes a moment to be built the first time.
            performance=await asyncio.to_thread(_earned, accounts, {each.version: each for each in versions}),
        )

    async def serves(self, name: str) -> bool:
        """Whether a version of an ensemble answers ticks.

        Raises:
            NotFound: there is no ensemble of that name.
        """
        return VersionState.DEPLOYED in (await self._states(name)).values()

    async def challenger(self, name: str) -> int | None:
        """The number of the version that is on trial beside the one that serves; None: none is.

        Raises:
            NotFound: there is no ensemble of that name.
        """
        states = await self._states(name)
        return next((number for number, state in states.items() if state is VersionState.SHADOWING), None)

    async def _states(self, name: str) -> dict[int, VersionState]:
        async with self._database.snapshot() as tx:
            states = await ensembles.states(tx, name)
        if not states:
            raise NotFound("ensemble", name)
        return states

    async def fingerprint_stats(self) -> FingerprintStats:
        """How much is known."""
        async with self._database.snapshot() as tx:
            return FingerprintStats.model_validate(vars(await fingerprints.stats(tx)))

    async def fingerprints(self, name: str) -> tuple[FingerprintLine, ...]:
        """What an experiment has trained that is known.

        Raises:
            NotFound: no experiment goes by that name.
        """
        async with self._database.snapshot() as tx:
            rows = await fingerprints.of_experiment(tx, (await _named(tx, name)).id)
        return tuple(
            FingerprintLine(fingerprint=each.fingerprint, trial=each.trial, step=each.step, whole=each.whole)
            for each in rows
        )

    async def _trials(
        self, tx: AsyncSession, found: Experiment, wanted: TrialsWanted, page: Page
    ) -> tuple[int, tuple[TrialLine, ...]]:
        order = self._aim.of(found).metric if page.order == "metric" else page.order
        asked = Page(order, page.descending, page.limit, page.offset)
        total, rows = await listing.page_of_trials(tx, found.id, wanted, asked)
        names = None if page.limit is None else [each.trial for each in rows]
        trained = await listing.trained(tx, found.id, names)
        return total, tuple(_trial_line(each, trained.get(each.trial)) for each in rows)

    def _line(self, found: Experiment) -> ExperimentLine:
        told = {**(found.progress or {}), **(found.summary or {})}
        aim = self._aim.of(found)
        finished, failed = told.get("finished", 0), told.get("failed", 0)
        return ExperimentLine(
            name=found.id,
            request_id=found.request_id,
            state=found.state,
            strategy=found.request.strategy,
            algorithm=found.request.algorithm,
            tickers=found.request.tickers,
            timeframe=found.request.timeframe,
            metric=aim.metric,
            objective_of=self._aim.asked(found) if aim.metric == OBJECTIVE else None,
            mode=aim.mode,
            trials=found.trials,
            finished=finished,
            failed=failed,
            best=told.get("best"),
            deflated_sharpe=told.get("deflated_sharpe"),
            cached=told.get("cached", 0),
            trials_per_second=_rate(finished + failed, told.get("seconds"), found),
            priority=found.priority,
            position=found.position,
            created_at=found.created_at,
            started_at=found.started_at,
            finished_at=found.finished_at,
            reasons=found.reasons,
        )


async def _named(tx: AsyncSession, name: str) -> Experiment:
    found = await experiments.by_name(tx, name)
    if found is None:
        raise NotFound("experiment", name)
    return found


def _rate(ended: int, seconds: float | None, found: Experiment) -> float | None:
    """Trials that ended a second: of the whole search where it is over, else until it last said how far it is."""
    if seconds is None and found.state in SEARCHING and found.started_at is not None:
        seconds = (found.updated_at - found.started_at).total_seconds()
    return ended / seconds if ended and seconds else None


def _trial_line(trial: Trial, trained: Trained | None) -> TrialLine:
    shared = {name: getattr(trial, name) for name in TrialLine.model_fields if name in _TRIAL_FIELDS}
    # What the database holds was validated when it was written: once for each of 10,000 trials is enough.
    return TrialLine.model_construct(
        **shared,
        steps=0 if trained is None else trained.step,
        budget=None if trained is None else trained.budget,
        cached=trained is not None and trained.recorded_by is not None,
        recorded_by=None if trained is None else trained.recorded_by,
    )


_TRIAL_FIELDS = frozenset(Trial.__dataclass_fields__)


def _ensemble_line(name: str, versions: Sequence[Version]) -> EnsembleLine:
    serving = ensembles.serving_of(versions)
    return EnsembleLine(
        name=name,
        serving_version=None if serving is None else serving.version,
        serving=None if serving is None else VersionLine.of(serving),
        newest=VersionLine.of(versions[-1]),
        versions=len(versions),
    )


def _members(manifest: JsonObject) -> tuple[MemberLine, ...]:
    return tuple(MemberLine.of(each, manifest["algorithm"]) for each in manifest["members"])


def _earned(accounts: Mapping[Mode, Account], versions: Mapping[int, Version]) -> tuple[Earned, ...]:
    return tuple(
        _of_account(mode, account, versions[account.version])
        for mode, account in accounts.items()
        if account.since is not None and account.version in versions
    )


def _of_account(mode: Mode, account: Account, version: Version) -> Earned:
    manifest = version.manifest
    figures = account.figures(calendar_named(manifest["calendar"]).sessions_per_year)
    return Earned(
        mode=mode,
        version=account.version,
        since=account.since,
        through=account.through,
        signals=account.signals,
        **vars(figures),
        filled_at="same_close" if manifest["execution"] == "same_close" else "next_close",
    )

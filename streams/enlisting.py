"""Makes the versions with registered models that commands ask for, each settled in one transaction.

A pass starts from the database alone: what was not settled when a worker died is made again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ray
import structlog
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.algorithms.formats import read_model
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named, is_intraday
from orchestrator.core.dataset import Terms, prepare
from orchestrator.core.errors import Refused
from orchestrator.core.gate import REQUIRED, Override
from orchestrator.core.models import RegisteredModel, mode_without_verdict, terms_differ, unjudged
from orchestrator.core.retention import digests_in
from orchestrator.features.sources import source_at
from orchestrator.store import ensembles, models, retention
from orchestrator.store.ensembles import Proposal, Version
from orchestrator.store.models import ModelWish
from schemas.base import Mode, Name, Reason, Voting
from schemas.commands import AddMember, DeployEnsemble
from schemas.search import Costs
from serving.artifacts import Artifacts
from serving.enlisting import Newcomer, Rows, enlist
from serving.manifest import EnsembleManifest, Outline, read_manifest
from streams.leading import Leadership, Leading
from streams.repeating import OnFailure

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
"""A model that takes longer over its bars is given up."""

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class Places:
    """Where bars and models are, and what their sessions are."""

    features_dir: Path
    features_db: Path | None
    artifacts: Path
    calendar: str


@dataclass(frozen=True)
class Enlistment:
    """A version to make: of these models, each on these tickers, and of all that the base has, if there is one."""

    ensemble: Name
    models: tuple[tuple[RegisteredModel, tuple[str, ...]], ...]
    voting: Voting
    threshold: float
    base: str | None = None
    """Digest of a manifest, whose votes are counted as they were."""


@dataclass(frozen=True)
class Enlisted:
    """The version that was made."""

    manifest: EnsembleManifest
    digest: str


class NotNow(Exception):
    """Ray is in the way: the same may succeed a moment later."""


class Enlisting(Protocol):
    """Whoever makes versions of registered models."""

    async def make(self, order: Enlistment) -> Enlisted | Reasons:
        """Make a version, or say why it cannot be made.

        Raises:
            NotNow: nobody can say now.
        """
        ...


class RayEnlisting:
    """Makes each version in a process of its own: a model that ends its process ends nothing else."""

    def __init__(self, places: Places, *, patience: float = PATIENCE_SECONDS) -> None:
        self._places = places
        self._patience = patience

    async def make(self, order: Enlistment) -> Enlisted | Reasons:
        """Make a version, or say why it cannot be made; raises as `Enlisting.make`."""
        try:
            made: Any = _task().remote(order, self._places)
            try:
                async with asyncio.timeout(self._patience):
                    found: Enlisted | Reasons = await made
                    return found
            except TimeoutError:
                ray.cancel(made, force=True)
                message = f"its models took longer than {self._patience:g} s over their bars: take faster ones"
                return (Reason(code="too_slow", where=order.ensemble, message=message),)
        except (WorkerCrashedError, OutOfMemoryError) as error:
            message = f"a model ended the process that read it: export it anew. {str(error)[-2000:]}"
            return (Reason(code="model_crashed", where=order.ensemble, message=message),)
        except RayTaskError as error:
            return (Reason(code="not_enlisted", where=order.ensemble, message=str(error)[-4096:]),)
        except RayError as error:
            raise NotNow(str(error)) from error


def _task() -> Any:
    # No decorator: the function stays importable by its name, and travels by it.
    return ray.remote(num_cpus=0, max_retries=0, max_calls=1)(enlisted)


def enlisted(order: Enlistment, places: Places) -> Enlisted | Reasons:
    """Make a version, or say why it cannot be made."""
    try:
        return _enlisted(order, places)
    except Refused as refused:
        return refused.reasons


def _enlisted(order: Enlistment, places: Places) -> Enlisted:
    artifacts = Artifacts(places.artifacts)
    base = None if order.base is None else read_manifest(artifacts.get(order.base))
    newcomers = [
        Newcomer(each, read_model(each.format, artifacts.get(each.digest), each.algorithm, each.feature_names), tickers)
        for each, tickers in order.models
    ]
    bars = _bars(order, base, places)
    outline = base or _outline(order, bars, places)
    terms = Terms(outline.target_transform, outline.horizon, outline.execution, outline.session_policy)
    calendar, costs = calendar_named(places.calendar), Costs()
    rows: dict[str, Rows] = {}
    for ticker, each in bars.items():
        target = prepare(each, terms, calendar).target
        rows[ticker] = Rows(
            each.event_time, target, each.features, each.feature_names, each.data_hash, costs.of(ticker)
        )
    manifest = enlist(outline, base, newcomers, rows, artifacts, reach=terms.delay + terms.horizon)
    return Enlisted(manifest, artifacts.put(manifest.content()))


def _bars(order: Enlistment, base: EnsembleManifest | None, places: Places) -> dict[str, Bars]:
    """The bars of each ticker that the models vote on, from where the first of them was trained through."""
    source = source_at(places.features_dir, places.features_db, minimum_rows=1)
    begin: dict[str, datetime] = {}
    for model, tickers in order.models:
        for ticker in tickers:
            begin[ticker] = min(begin.get(ticker, model.trained_through), model.trained_through)
            if base is not None and ticker in base.tickers:
                begin[ticker] = min(begin[ticker], base.trained_through)
    timeframe = order.models[0][0].timeframe
    return {ticker: source.load(ticker, timeframe, start) for ticker, start in begin.items()}


def _outline(order: Enlistment, bars: dict[str, Bars], places: Places) -> Outline:
    """A new ensemble's, by the defaults of a search."""
    first, algorithms = order.models[0][0], {model.algorithm for model, _ in order.models}
    intraday, soft = is_intraday(first.timeframe), order.voting == "soft"
    return Outline(
        ensemble=order.ensemble,
        experiment=None,
        algorithm=first.algorithm if len(algorithms) == 1 else "several",
        timeframe=first.timeframe,
        target_transform=first.target_transform,
        horizon=first.horizon,
        execution="next_open" if all(each.open is not None for each in bars.values()) else "next_close",
        session_policy="flat_at_close" if intraday else "hold",
        calendar=places.calendar,
        voting=order.voting,
        calibration="out_of_fold",
        threshold=order.threshold if soft else 0.0,
        exit_threshold=order.threshold / 2 if soft else 0.0,
        min_edge_bps=0.0,
    )


class ModelWishes(Leading):
    """Sees to what is wished for, one after the other; of all workers, one does.

    Args:
        leadership: of the worker that does.
        enlisting: makes versions.
        voting: where the command does not say; so the threshold.
        override: how a version that no gate has judged may be heard.
        clock: the time.
        on_failure: called with the error that ends it.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        enlisting: Enlisting,
        voting: Voting,
        threshold: float,
        override: Override,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._enlisting = enlisting
        self._voting: Voting = voting
        self._threshold = threshold
        self._override: Override = override
        self._clock = clock
        self._new = asyncio.Event()

    def wake(self) -> None:
        """Something is new: do not wait for the next pass."""
        self._new.set()

    async def act(self) -> None:
        """One pass, then rest until something is new."""
        self._new.clear()
        await self.fulfil()
        await self.pause(PAUSE_SECONDS, until=self._new)

    async def fulfil(self) -> None:
        """One pass: all that can be made now is made, or refused."""
        async with self._database.snapshot() as tx:
            found = await models.ready(tx)
        for wish in found:
            try:
                await self._fulfil(wish)
            except NotNow as error:
                log.warning("models_wait", command_id=wish.command.command_id, cause=str(error))

    async def _fulfil(self, wish: ModelWish) -> None:
        command = wish.command
        async with self._database.snapshot() as tx:
            serving = ensembles.serving_of(await ensembles.versions(tx, command.ensemble))
            registered = await models.of_digests(tx, digests_of(command))
        try:
            order, mode = self._order(command, serving, registered)
        except Refused as refused:
            made: Enlisted | Reasons = refused.reasons
        else:
            made = await self._enlisting.make(order)
        if isinstance(made, Enlisted):
            base = serving if isinstance(command, AddMember) else None
            await self._database.commit(partial(self._settle, command, made, mode, base))
        else:
            log.warning("models_refused", command_id=command.command_id, reasons=[*map(str, made)])
            await self._database.commit(partial(self._refuse, command.command_id, made))

    def _order(
        self, command: DeployEnsemble | AddMember, serving: Version | None, registered: dict[str, RegisteredModel]
    ) -> tuple[Enlistment, Mode]:
        """What is to be made, and how it is heard.

        Raises:
            Refused: nothing can be.
        """
        asked = command.mode if isinstance(command, DeployEnsemble) else None if serving is None else serving.mode
        if asked is None:
            message = (
                f"no version of {command.ensemble} serves, so that there is nothing to add to: deploy models instead"
            )
            raise Refused([Reason(code="nothing_serves", where="/ensemble", message=message)])
        mode = mode_without_verdict(asked, self._override)
        if mode is None:
            message = "GATE_OVERRIDE is forbid, and no gate judges registered models: the operator may set it to paper"
            raise Refused([Reason(code="no_verdict", where="/models", message=message)])
        if isinstance(command, DeployEnsemble):
            chosen = tuple((registered[digest], registered[digest].tickers) for digest in command.models)
            voting = command.voting or self._voting
            threshold = self._threshold if command.threshold is None else command.threshold
            return Enlistment(command.ensemble, chosen, voting, threshold), mode
        if serving is None or mode != serving.mode:
            message = (
                f"{command.ensemble} is live, and a version with a model that no gate has judged is heard on paper "
                "only (GATE_OVERRIDE): set that to live, or add it to an ensemble of another name"
            )
            raise Refused([Reason(code="live_version_serves", where="/ensemble", message=message)])
        model, manifest = registered[command.model], serving.manifest
        terms = (manifest["timeframe"], manifest["target_transform"], manifest["horizon"])
        if model.terms != terms:
            raise Refused([terms_differ(model, terms, whose=command.ensemble)])
        tickers = model.tickers if command.ticker is None else (command.ticker,)
        order = Enlistment(
            command.ensemble, ((model, tickers),), manifest["voting"], manifest["threshold"], serving.digest
        )
        return order, mode

    async def _settle(
        self, command: DeployEnsemble | AddMember, made: Enlisted, mode: Mode, base: Version | None, tx: AsyncSession
    ) -> None:
        """The version is wanted, unless the wish was withdrawn; where another serves by now, it is made anew."""
        now = self._clock()
        if base is not None:
            serving, another = await ensembles.standing(tx, command.ensemble)
            if another or serving is None or serving.version != base.version:
                return
        if not await models.settle(tx, command.command_id):
            return
        manifest = made.manifest
        await retention.note_artifacts(tx, digests_in(manifest.document()) | {made.digest}, now)
        proposal = Proposal(
            ensemble=command.ensemble,
            experiment=manifest.experiment,
            manifest=manifest.document(),
            digest=made.digest,
            members=len(manifest.members),
            mode=mode,
            tickers=tuple(manifest.tickers),
            timeframe=manifest.timeframe,
            verdict=unjudged(REQUIRED),
            command_id=command.command_id,
        )
        await ensembles.propose(tx, proposal, now)

    async def _refuse(self, command_id: str, reasons: Reasons, tx: AsyncSession) -> None:
        await models.refuse_one(tx, command_id, reasons, self._clock())


def digests_of(command: DeployEnsemble | AddMember) -> tuple[str, ...]:
    """The models that a command names."""
    return command.models if isinstance(command, DeployEnsemble) else (command.model,)

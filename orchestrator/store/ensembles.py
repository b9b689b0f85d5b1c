"""Ensembles: immutable versions, of which one at most is deployed, and the events that say which one serves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState, earlier, left_by, those_before
from orchestrator.store import wishes
from orchestrator.store.errors import NotWanted
from orchestrator.store.experiments import Experiment, advance, take
from orchestrator.store.outbox import append
from orchestrator.store.sequences import lock_sequence, take_sequences
from orchestrator.store.tables import ensembles
from schemas.base import JsonObject, Mode, Reason
from schemas.ensembles import EnsembleDeleted, EnsembleDeployed, EnsembleDeploying, EnsembleFailed, EnsembleRolledBack
from schemas.experiments import ExperimentFailed, GateVerdict
from schemas.topics import ENSEMBLE_EVENTS

_VERSIONS = "ensemble-versions"

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class Proposal:
    """A version as it is proposed."""

    ensemble: str
    experiment: str | None
    """None: it is of registered models alone."""
    manifest: JsonObject
    digest: str
    """Of the manifest's canonical form."""
    members: int
    mode: Mode
    tickers: tuple[str, ...]
    timeframe: str
    verdict: GateVerdict
    command_id: str | None = field(default=None, kw_only=True)
    """The command that wants it served; None: a search request."""


@dataclass(frozen=True)
class Version(Proposal):
    """A version as the database has it."""

    version: int
    state: VersionState
    reasons: tuple[Reason, ...]
    """Why it failed, or was taken back."""
    proposed_at: datetime
    deployed_at: datetime | None
    ended_at: datetime | None
    """When it was superseded or given up."""
    canary: tuple[str, ...] = field(default=(), kw_only=True)
    """Instruments on which it is heard, while it is a challenger."""


@dataclass(frozen=True)
class Coverage:
    """The bars that a version answers, or has answered."""

    ensemble: str
    tickers: tuple[str, ...]
    timeframe: str


def objection(wanted: Version, serving: Version | None) -> Reason | None:
    """Why a version must not take the place of the one that serves under its name; None: it may.

    Of one search two requests may want two ensembles under the same name, and neither knows of the other; whoever
    commands knows what serves.
    """
    if serving is None:
        return None
    name = f"{serving.ensemble} version {serving.version}"
    if serving.experiment == wanted.experiment and wanted.command_id is None and wanted.deployed_at is None:
        message = f"{name} is what another request wanted of the same search; ask for an ensemble_name of its own"
        return Reason(code="ensemble_taken", where="/deploy/ensemble_name", message=message)
    if serving.mode == "live" and wanted.mode != "live":
        silenced = f"{name} is live, and a version in mode {wanted.mode} would silence it"
        message = f"{silenced}; ask for another ensemble_name, or delete the ensemble first"
        return Reason(code="live_version_serves", where="/deploy/mode", message=message)
    return None


async def propose(tx: AsyncSession, proposal: Proposal, now: datetime) -> int:
    """Write the ensemble's next version as wanted, with its `deploying` event, and return its number, from 1.

    A selected experiment goes on to deploying; one that is there or beyond proposes another version, as it must where
    several requests ask for ensembles of their own. Where a command asks, the experiment stays where it is: that says
    what has become of its requests.

    Raises:
        UnknownExperiment: there is none of the proposal's.
        IllegalTransition: the experiment has not got so far, or has ended otherwise.
    """
    experiment = await _experiment(tx, proposal.experiment)
    version = await take_sequences(tx, _VERSIONS, proposal.ensemble)
    begun = (State.DEPLOYING, State.DEPLOYED)
    if experiment is not None and proposal.command_id is None and experiment.state not in begun:
        await advance(tx, experiment.id, State.DEPLOYING, None, now)
    row = {**vars(proposal), "version": version, "state": VersionState.WANTED, "reasons": (), "proposed_at": now}
    await tx.execute(insert(ensembles), [row])
    await _tell_deploying(tx, proposal, version, experiment, now)
    return version


async def roll_back(tx: AsyncSession, ensemble: str, named: int | None, command_id: str, now: datetime) -> Reasons:
    """Have a version that has served wanted again, and nothing else of its ensemble.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        named: the version's number; None: the one before.
        command_id: the command that wants it.
        now: when.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await _taken(tx, ensemble)
    found = earlier(ensemble, known, named)
    if isinstance(found, Reason):
        return (found,)
    again = replace(found, command_id=command_id)
    if reason := objection(again, _deployed_of(known)):
        return (reason,)
    message = f"version {found.version} of {ensemble} was to serve again before it could"
    await _forestall(tx, ensemble, known, Reason(code="rolled_back", message=message), now)
    await _change(tx, found, state=VersionState.WANTED, command_id=command_id, reasons=(), ended_at=None)
    await _tell_deploying(tx, again, found.version, await _experiment(tx, found.experiment), now)
    return ()


async def delete(tx: AsyncSession, ensemble: str, command_id: str, now: datetime) -> Reasons:
    """No version of the ensemble is wanted any more, and none serves; what has served can be wanted again.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        command_id: the command that asks for it.
        now: when.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await _taken(tx, ensemble)
    if not known:
        return (Reason(code="unknown_ensemble", where="/ensemble", message=f"there is no ensemble {ensemble}"),)
    serving = _deployed_of(known)
    if serving is None and not _wanted_of(known):
        message = f"no version of {ensemble} serves, and none is about to"
        return (Reason(code="nothing_serves", where="/ensemble", message=message),)
    await _forestall(tx, ensemble, known, Reason(code="deleted", message=f"{ensemble} was deleted"), now)
    if serving is not None:
        await _change(tx, serving, state=VersionState.SUPERSEDED, ended_at=now)
    event = EnsembleDeleted(
        ensemble=ensemble,
        sequence=0,
        version=(serving or known[-1]).version,
        serving_version=None,
        emitted_at=now,
        command_id=command_id,
    )
    await append(tx, ENSEMBLE_EVENTS, ensemble, event, now)
    return ()


async def mark_deployed(tx: AsyncSession, ensemble: str, version: int, now: datetime) -> None:
    """The version answers ticks: it takes the place of the one that did, and its experiment is deployed.

    Raises:
        NotWanted: nobody waits for this version.
    """
    experiment, deployed = await _take_wanted(tx, ensemble, version)
    await _serve(tx, deployed, (), now, _traceparent(experiment))
    if experiment is not None and experiment.state is State.DEPLOYING:
        await advance(tx, experiment.id, State.DEPLOYED, None, now)


async def take_back(
    tx: AsyncSession, ensemble: str, version: int, before: int, reasons: Reasons, now: datetime
) -> None:
    """The version that serves does not do so as it should, and one before it answers again: it is rolled back to.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        version: the one that serves.
        before: the one that answers again, one of `gone_back_to`.
        reasons: why.
        now: when.

    Raises:
        NotWanted: a command has overtaken it.
    """
    known = {each.version: each for each in await _taken(tx, ensemble)}
    for number, state in ((version, VersionState.DEPLOYED), (before, VersionState.SUPERSEDED)):
        if known[number].state is not state:
            raise NotWanted(ensemble, number, known[number].state)
    if waiting := _wanted_of([*known.values()]):
        raise NotWanted(ensemble, waiting[0].version, waiting[0].state)
    await _change(tx, known[before], command_id=None, ended_at=None)
    await _serve(tx, replace(known[before], command_id=None), reasons, now, None)


async def gone_back_to(tx: AsyncSession, serving: Version) -> list[Version]:
    """The versions that may answer again where the one that serves does not do so as it should, best first."""
    before = those_before(serving.version, await versions(tx, serving.ensemble))
    return [each for each in before if objection(each, serving) is None]


async def mark_failed(
    tx: AsyncSession, ensemble: str, version: int, reasons: tuple[Reason, ...], now: datetime
) -> None:
    """The version cannot be served and is given up; what served before goes on.

    Its experiment fails with it, unless another of its versions is deployed or still wanted.

    Raises:
        NotWanted: nobody waits for this version.
    """
    experiment, failed = await _take_wanted(tx, ensemble, version)
    await _change(tx, failed, state=VersionState.FAILED, ended_at=now, reasons=reasons)
    event = EnsembleFailed(
        ensemble=ensemble,
        sequence=0,
        version=version,
        serving_version=await _serving(tx, ensemble),
        emitted_at=now,
        reasons=reasons,
        command_id=failed.command_id,
    )
    await append(tx, ENSEMBLE_EVENTS, ensemble, event, now, _traceparent(experiment))
    if experiment is None or experiment.state is not State.DEPLOYING:
        return
    others = (ensembles.c.experiment == experiment.id) & (ensembles.c.state == VersionState.WANTED)
    if not (await tx.execute(select(ensembles.c.version).where(others))).all():
        end = ExperimentFailed(
            experiment=experiment.id,
            request_id=experiment.request_id,
            sequence=0,
            emitted_at=now,
            reasons=reasons,
        )
        await advance(tx, experiment.id, State.FAILED, end, now)


async def wanted(tx: AsyncSession) -> list[Version]:
    """Versions that wait to be served, by ensemble and then in the order of their numbers: deploy them so."""
    return await _in_state(tx, VersionState.WANTED)


async def deployed(tx: AsyncSession) -> list[Version]:
    """The version that serves, of each ensemble that has one, by ensemble."""
    return await _in_state(tx, VersionState.DEPLOYED)


async def covered(tx: AsyncSession) -> list[Coverage]:
    """What every version that serves, or has served, answers."""
    columns = [ensembles.c[name] for name in Coverage.__dataclass_fields__]
    served = select(*columns).where(ensembles.c.deployed_at.is_not(None))
    return [Coverage(**row._mapping) for row in await tx.execute(served)]


async def left(tx: AsyncSession) -> list[Version]:
    """Of each ensemble that has served and does no longer, the version that did last, by ensemble."""
    serving = select(ensembles.c.ensemble).where(ensembles.c.state == VersionState.DEPLOYED)
    over = ensembles.c.deployed_at.is_not(None) & ensembles.c.ensemble.not_in(serving)
    found = select(ensembles).where(over).order_by(ensembles.c.ensemble, ensembles.c.deployed_at)
    return [*{row.ensemble: Version(**row._mapping) for row in await tx.execute(found)}.values()]


async def given_up(tx: AsyncSession) -> frozenset[str]:
    """The ensembles that no version serves, nor is wanted to."""
    alive = select(ensembles.c.ensemble).where(ensembles.c.state.in_([VersionState.DEPLOYED, VersionState.WANTED]))
    found = select(ensembles.c.ensemble).where(ensembles.c.ensemble.not_in(alive))
    return frozenset((await tx.execute(found)).scalars())


async def versions(tx: AsyncSession, ensemble: str) -> list[Version]:
    """The ensemble's versions, oldest first; none if there is no such ensemble."""
    rows = await tx.execute(select(ensembles).where(ensembles.c.ensemble == ensemble).order_by(ensembles.c.version))
    return [Version(**row._mapping) for row in rows]


async def states(tx: AsyncSession, ensemble: str) -> dict[int, VersionState]:
    """Where each of the ensemble's versions is, by number; none if there is no such ensemble."""
    rows = await tx.execute(select(ensembles.c.version, ensembles.c.state).where(ensembles.c.ensemble == ensemble))
    return {row.version: row.state for row in rows}


def serving_of(known: Sequence[Version]) -> Version | None:
    """Of an ensemble's versions, the one that serves."""
    return _deployed_of(known)


async def standing(tx: AsyncSession, ensemble: str) -> tuple[Version | None, bool]:
    """The version that serves, and whether another waits to; it stays so until the transaction ends."""
    known = await _taken(tx, ensemble)
    return _deployed_of(known), bool(_wanted_of(known))


async def names(tx: AsyncSession) -> list[str]:
    """Every ensemble there is or was, in the order of their names."""
    return [*await tx.scalars(select(ensembles.c.ensemble).distinct().order_by(ensembles.c.ensemble))]


async def _in_state(tx: AsyncSession, state: VersionState) -> list[Version]:
    found = select(ensembles).where(ensembles.c.state == state).order_by(ensembles.c.ensemble, ensembles.c.version)
    return [Version(**row._mapping) for row in await tx.execute(found)]


async def _serving(tx: AsyncSession, ensemble: str) -> int | None:
    serving = (ensembles.c.ensemble == ensemble) & (ensembles.c.state == VersionState.DEPLOYED)
    return (await tx.execute(select(ensembles.c.version).where(serving))).scalar_one_or_none()


async def _experiment(tx: AsyncSession, name: str | None) -> Experiment | None:
    """The experiment that a version is of, locked."""
    return None if name is None else await take(tx, name)


def _traceparent(experiment: Experiment | None) -> str | None:
    return None if experiment is None else experiment.traceparent


async def _take_wanted(tx: AsyncSession, ensemble: str, version: int) -> tuple[Experiment | None, Version]:
    """The version, if somebody waits for it, and its experiment, if it has one; that and the ensemble are locked.

    The locks are taken in the order in which `propose` takes them, so that neither waits for the other for ever.
    """
    this = select(ensembles).where((ensembles.c.ensemble == ensemble) & (ensembles.c.version == version))
    row = (await tx.execute(this)).one_or_none()
    if row is None:
        raise NotWanted(ensemble, version, None)
    experiment = await _experiment(tx, row.experiment)
    await lock_sequence(tx, _VERSIONS, ensemble)
    found = Version(**(await tx.execute(this)).one()._mapping)
    if found.state is not VersionState.WANTED:
        raise NotWanted(ensemble, version, found.state)
    return experiment, found


async def _taken(tx: AsyncSession, ensemble: str) -> list[Version]:
    """The ensemble's versions, as they stay until the transaction ends.

    Whatever is done to them locks their experiments afterwards, so that it may be broken off and done again.
    """
    if not await versions(tx, ensemble):
        return []
    await lock_sequence(tx, _VERSIONS, ensemble)
    return await versions(tx, ensemble)


def _deployed_of(known: Sequence[Version]) -> Version | None:
    return next((each for each in known if each.state is VersionState.DEPLOYED), None)


def _wanted_of(known: Sequence[Version]) -> list[Version]:
    return [each for each in known if each.state is VersionState.WANTED]


async def _forestall(tx: AsyncSession, ensemble: str, known: Sequence[Version], reason: Reason, now: datetime) -> None:
    """Give up what is to be served of an ensemble, or to be made for it: a later command overtakes it."""
    for version in _wanted_of(known):
        await mark_failed(tx, ensemble, version.version, (reason,), now)
    await wishes.withdraw(tx, ensemble, reason, now)


async def _serve(tx: AsyncSession, version: Version, reasons: Reasons, now: datetime, traceparent: str | None) -> None:
    """A version answers ticks: it takes the place of the one that did, for these reasons, and both are told."""
    before = await _serving(tx, version.ensemble)
    if before is not None:
        await _leave(tx, version, before, reasons, now)
    await _change(tx, version, state=VersionState.DEPLOYED, deployed_at=now)
    event = EnsembleDeployed(
        ensemble=version.ensemble,
        sequence=0,
        version=version.version,
        serving_version=version.version,
        emitted_at=now,
        experiment=version.experiment,
        tickers=version.tickers,
        timeframe=version.timeframe,
        mode=version.mode,
        members=version.members,
        manifest_digest=version.digest,
        command_id=version.command_id,
    )
    await append(tx, ENSEMBLE_EVENTS, version.ensemble, event, now, traceparent)


async def _leave(tx: AsyncSession, successor: Version, before: int, reasons: Reasons, now: datetime) -> None:
    """The version that served does no longer; where one of a lower number takes its place, that is told."""
    this = (ensembles.c.ensemble == successor.ensemble) & (ensembles.c.version == before)
    state = left_by(before, successor.version)
    await tx.execute(update(ensembles).where(this).values(state=state, ended_at=now, reasons=reasons))
    if state is VersionState.ROLLED_BACK:
        event = EnsembleRolledBack(
            ensemble=successor.ensemble,
            sequence=0,
            version=before,
            serving_version=successor.version,
            emitted_at=now,
            reasons=reasons,
            command_id=successor.command_id,
        )
        await append(tx, ENSEMBLE_EVENTS, successor.ensemble, event, now)


async def _tell_deploying(
    tx: AsyncSession, proposal: Proposal, version: int, experiment: Experiment | None, now: datetime
) -> None:
    event = EnsembleDeploying(
        ensemble=proposal.ensemble,
        sequence=0,
        version=version,
        serving_version=await _serving(tx, proposal.ensemble),
        emitted_at=now,
        experiment=proposal.experiment,
        command_id=proposal.command_id,
    )
    await append(tx, ENSEMBLE_EVENTS, proposal.ensemble, event, now, _traceparent(experiment))


async def _change(tx: AsyncSession, version: Version, **changes: object) -> None:
    this = (ensembles.c.ensemble == version.ensemble) & (ensembles.c.version == version.version)
    await tx.execute(update(ensembles).where(this).values(**changes))

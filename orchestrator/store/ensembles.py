"""Ensembles: immutable versions, of which one at most is deployed, and the events that say which one serves."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import State
from orchestrator.store.errors import NotWanted
from orchestrator.store.experiments import Experiment, advance, take
from orchestrator.store.outbox import append
from orchestrator.store.sequences import lock_sequence, take_sequences
from orchestrator.store.tables import VersionState, ensembles
from schemas.base import JsonObject, Mode, Reason
from schemas.ensembles import EnsembleDeployed, EnsembleDeploying, EnsembleFailed
from schemas.experiments import ExperimentFailed, GateVerdict
from schemas.topics import ENSEMBLE_EVENTS

_VERSIONS = "ensemble-versions"


@dataclass(frozen=True)
class Proposal:
    """A version as it is proposed."""

    ensemble: str
    experiment: str
    manifest: JsonObject
    digest: str
    """Of the manifest's canonical form."""
    members: int
    mode: Mode
    tickers: tuple[str, ...]
    timeframe: str
    verdict: GateVerdict


@dataclass(frozen=True)
class Version(Proposal):
    """A version as the database has it."""

    version: int
    state: VersionState
    reasons: tuple[Reason, ...]
    """Why it failed."""
    proposed_at: datetime
    deployed_at: datetime | None
    ended_at: datetime | None
    """When it was superseded or given up."""


@dataclass(frozen=True)
class Coverage:
    """The bars that a version answers, or has answered."""

    ensemble: str
    tickers: tuple[str, ...]
    timeframe: str


def objection(wanted: Version, serving: Version | None) -> Reason | None:
    """Why a version must not take the place of the one that serves under its name; None: it may."""
    if serving is None:
        return None
    name = f"{serving.ensemble} version {serving.version}"
    if serving.experiment == wanted.experiment:
        message = f"{name} is what another request wanted of the same search; ask for an ensemble_name of its own"
        return Reason(code="ensemble_taken", where="/deploy/ensemble_name", message=message)
    if serving.mode == "live" and wanted.mode != "live":
        message = f"{name} is live, and a version in mode {wanted.mode} would silence it; ask for another ensemble_name"
        return Reason(code="live_version_serves", where="/deploy/mode", message=message)
    return None


async def propose(tx: AsyncSession, proposal: Proposal, now: datetime) -> int:
    """Write the ensemble's next version as wanted, with its `deploying` event, and return its number, from 1.

    A selected experiment goes on to deploying; one that is there or beyond proposes another version, as it must where
    several requests ask for ensembles of their own.

    Raises:
        UnknownExperiment: there is none of the proposal's.
        IllegalTransition: the experiment has not got so far, or has ended otherwise.
    """
    experiment = await take(tx, proposal.experiment)
    version = await take_sequences(tx, _VERSIONS, proposal.ensemble)
    if experiment.state not in (State.DEPLOYING, State.DEPLOYED):
        await advance(tx, experiment.id, State.DEPLOYING, None, now)
    row = {**vars(proposal), "version": version, "state": VersionState.WANTED, "reasons": (), "proposed_at": now}
    await tx.execute(insert(ensembles), [row])
    event = EnsembleDeploying(
        ensemble=proposal.ensemble,
        sequence=0,
        version=version,
        serving_version=await _serving(tx, proposal.ensemble),
        emitted_at=now,
        experiment=experiment.id,
    )
    await append(tx, ENSEMBLE_EVENTS, proposal.ensemble, event, now, experiment.traceparent)
    return version


async def mark_deployed(tx: AsyncSession, ensemble: str, version: int, now: datetime) -> None:
    """The version answers ticks: it supersedes the one that did, and its experiment is deployed.

    Raises:
        NotWanted: nobody waits for this version.
    """
    experiment, deployed = await _take_wanted(tx, ensemble, version)
    serving = (ensembles.c.ensemble == ensemble) & (ensembles.c.state == VersionState.DEPLOYED)
    await tx.execute(update(ensembles).where(serving).values(state=VersionState.SUPERSEDED, ended_at=now))
    await _change(tx, deployed, state=VersionState.DEPLOYED, deployed_at=now)
    event = EnsembleDeployed(
        ensemble=ensemble,
        sequence=0,
        version=version,
        serving_version=version,
        emitted_at=now,
        experiment=experiment.id,
        tickers=deployed.tickers,
        timeframe=deployed.timeframe,
        mode=deployed.mode,
        members=deployed.members,
        manifest_digest=deployed.digest,
    )
    await append(tx, ENSEMBLE_EVENTS, ensemble, event, now, experiment.traceparent)
    if experiment.state is State.DEPLOYING:
        await advance(tx, experiment.id, State.DEPLOYED, None, now)


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
    )
    await append(tx, ENSEMBLE_EVENTS, ensemble, event, now, experiment.traceparent)
    others = (ensembles.c.experiment == experiment.id) & (ensembles.c.state == VersionState.WANTED)
    if experiment.state is State.DEPLOYING and not (await tx.execute(select(ensembles.c.version).where(others))).all():
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
    served = ensembles.c.state.in_([VersionState.DEPLOYED, VersionState.SUPERSEDED])
    return [Coverage(**row._mapping) for row in await tx.execute(select(*columns).where(served))]


async def given_up(tx: AsyncSession) -> frozenset[str]:
    """The ensembles that no version serves, nor is wanted to."""
    alive = select(ensembles.c.ensemble).where(ensembles.c.state.in_([VersionState.DEPLOYED, VersionState.WANTED]))
    found = select(ensembles.c.ensemble).where(ensembles.c.ensemble.not_in(alive))
    return frozenset((await tx.execute(found)).scalars())


async def versions(tx: AsyncSession, ensemble: str) -> list[Version]:
    """The ensemble's versions, oldest first; none if there is no such ensemble."""
    rows = await tx.execute(select(ensembles).where(ensembles.c.ensemble == ensemble).order_by(ensembles.c.version))
    return [Version(**row._mapping) for row in rows]


async def _in_state(tx: AsyncSession, state: VersionState) -> list[Version]:
    found = select(ensembles).where(ensembles.c.state == state).order_by(ensembles.c.ensemble, ensembles.c.version)
    return [Version(**row._mapping) for row in await tx.execute(found)]


async def _serving(tx: AsyncSession, ensemble: str) -> int | None:
    serving = (ensembles.c.ensemble == ensemble) & (ensembles.c.state == VersionState.DEPLOYED)
    return (await tx.execute(select(ensembles.c.version).where(serving))).scalar_one_or_none()


async def _take_wanted(tx: AsyncSession, ensemble: str, version: int) -> tuple[Experiment, Version]:
    """The version, if somebody waits for it, and its experiment; both the experiment and the ensemble are locked.

    The locks are taken in the order in which `propose` takes them, so that neither waits for the other for ever.
    """
    this = select(ensembles).where((ensembles.c.ensemble == ensemble) & (ensembles.c.version == version))
    row = (await tx.execute(this)).one_or_none()
    if row is None:
        raise NotWanted(ensemble, version, None)
    experiment = await take(tx, row.experiment)
    await lock_sequence(tx, _VERSIONS, ensemble)
    found = Version(**(await tx.execute(this)).one()._mapping)
    if found.state is not VersionState.WANTED:
        raise NotWanted(ensemble, version, found.state)
    return experiment, found


async def _change(tx: AsyncSession, version: Version, **changes: object) -> None:
    this = (ensembles.c.ensemble == version.ensemble) & (ensembles.c.version == version.version)
    await tx.execute(update(ensembles).where(this).values(**changes))

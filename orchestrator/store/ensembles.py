"""Ensembles: immutable versions, of which one at most is deployed, and the events that say which one serves.

Beside the one that is deployed another may answer in shadow: its challenger (`orchestrator.store.challengers`).
"""

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
from orchestrator.store.sequences import lock_sequence, take_sequences
from orchestrator.store.tables import ensembles
from orchestrator.store.telling import tell
from schemas.base import JsonObject, Mode, Reason
from schemas.ensembles import EnsembleDeleted, EnsembleDeployed, EnsembleDeploying, EnsembleFailed, EnsembleRolledBack
from schemas.experiments import ExperimentFailed, GateVerdict
from schemas.retraining import ChallengerCanary, ChallengerRetired

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
    """Why it failed, was taken back, or is to take the place of the one that serves."""
    proposed_at: datetime
    deployed_at: datetime | None
    ended_at: datetime | None
    """When it was superseded or given up."""
    canary: tuple[str, ...] = field(default=(), kw_only=True)
    """Instruments on which it is heard, while it is a challenger."""

    @property
    def name(self) -> tuple[str, int, str | None]:
        """Of which ensemble, number and experiment it is."""
        return self.ensemble, self.version, self.experiment


@dataclass(frozen=True)
class Coverage:
    """The bars that a version answers, or has answered."""

    ensemble: str
    tickers: tuple[str, ...]
    timeframe: str


def challenges(wanted: Version, serving: Version | None) -> bool:
    """Whether a version is to answer the ticks of the one that serves beside it, on trial, and not to take its place.

    One that has served comes back as what it was.
    """
    if serving is None or serving.mode not in ("live", "paper"):
        return False
    return wanted.mode == "shadow" and wanted.deployed_at is None and wanted.timeframe == serving.timeframe


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
    if challenges(wanted, serving):
        return None
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
    await tell_deploying(tx, proposal, version, now)
    return version


async def roll_back(
    tx: AsyncSession, ensemble: str, named: int | None, command_id: str, now: datetime, reasons: Reasons = ()
) -> Reasons:
    """Have a version that has served wanted again, and nothing else of its ensemble.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        named: the version's number; None: the one before.
        command_id: the command that wants it.
        now: when.
        reasons: why the one that serves is to give way.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await taken(tx, ensemble)
    found = earlier(ensemble, known, named)
    if isinstance(found, Reason):
        return (found,)
    again = replace(found, command_id=command_id)
    if reason := objection(again, serving_of(known)):
        return (reason,)
    message = f"version {found.version} of {ensemble} was to serve again before it could"
    await _forestall(tx, ensemble, known, Reason(code="rolled_back", message=message), now)
    await change(tx, found, state=VersionState.WANTED, command_id=command_id, reasons=reasons, ended_at=None)
    await tell_deploying(tx, again, found.version, now)
    return ()


async def delete(tx: AsyncSession, ensemble: str, command_id: str, now: datetime) -> Reasons:
    """No version of the ensemble is wanted any more, none serves, and none is on trial; what has served can be wanted
    again.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        command_id: the command that asks for it.
        now: when.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await taken(tx, ensemble)
    if not known:
        return (unknown(ensemble),)
    serving = serving_of(known)
    if serving is None and not _wanted_of(known):
        message = f"no version of {ensemble} serves, and none is about to"
        return (Reason(code="nothing_serves", where="/ensemble", message=message),)
    reason = Reason(code="deleted", message=f"{ensemble} was deleted")
    await _forestall(tx, ensemble, known, reason, now)
    if serving is not None:
        await change(tx, serving, state=VersionState.SUPERSEDED, ended_at=now)
    if challenger := challenger_of(known):
        await end_trial(tx, challenger, None, (reason,), now, command_id)
    await tell(tx, EnsembleDeleted, (serving or known[-1]).name, None, now, command_id=command_id)
    return ()


async def mark_deployed(tx: AsyncSession, ensemble: str, version: int, now: datetime) -> None:
    """The version answers ticks: it takes the place of the one that did, and its experiment is deployed.

    Raises:
        NotWanted: nobody waits for this version, or it is to answer beside another and not instead of it.
    """
    experiment, found = await take_wanted(tx, ensemble, version)
    if challenges(found, serving_of(await versions(tx, ensemble))):
        raise NotWanted(ensemble, version, found.state)
    await _serve(tx, found, found.reasons, now)
    await fulfil(tx, experiment, now)


async def fulfil(tx: AsyncSession, experiment: Experiment | None, now: datetime) -> None:
    """What an experiment's request asked for answers ticks."""
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
    known = {each.version: each for each in await taken(tx, ensemble)}
    for number, state in ((version, VersionState.DEPLOYED), (before, VersionState.SUPERSEDED)):
        if known[number].state is not state:
            raise NotWanted(ensemble, number, known[number].state)
    if waiting := successors_of([*known.values()]):
        raise NotWanted(ensemble, waiting[0].version, waiting[0].state)
    await change(tx, known[before], command_id=None, ended_at=None)
    await _serve(tx, replace(known[before], command_id=None), reasons, now)


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
    experiment, failed = await take_wanted(tx, ensemble, version)
    await change(tx, failed, state=VersionState.FAILED, ended_at=now, reasons=reasons, canary=())
    serving = await _serving(tx, ensemble)
    await tell(tx, EnsembleFailed, failed.name, serving, now, reasons=reasons, command_id=failed.command_id)
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


async def challengers(tx: AsyncSession) -> list[Version]:
    """The version that answers beside the one that serves, of each ensemble that has one, by ensemble.

    One that is to be promoted goes on where it is heard until it serves.
    """
    heard = [each for each in await wanted(tx) if each.canary]
    return sorted([*await _in_state(tx, VersionState.SHADOWING), *heard], key=lambda each: each.ensemble)


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
    return next((each for each in known if each.state is VersionState.DEPLOYED), None)


def challenger_of(known: Sequence[Version]) -> Version | None:
    """Of an ensemble's versions, the one that is on trial beside the one that serves."""
    return next((each for each in known if each.state is VersionState.SHADOWING), None)


def successors_of(known: Sequence[Version]) -> list[Version]:
    """Of an ensemble's versions, those that wait to take the place of the one that serves."""
    serving = serving_of(known)
    return [each for each in _wanted_of(known) if not challenges(each, serving)]


async def standing(tx: AsyncSession, ensemble: str) -> tuple[Version | None, bool]:
    """The version that serves, and whether another waits to take its place; it stays so until the transaction ends."""
    known = await taken(tx, ensemble)
    return serving_of(known), bool(successors_of(known))


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


async def take_wanted(tx: AsyncSession, ensemble: str, version: int) -> tuple[Experiment | None, Version]:
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


async def taken(tx: AsyncSession, ensemble: str) -> list[Version]:
    """The ensemble's versions, as they stay until the transaction ends.

    Whatever is done to them locks their experiments afterwards, so that it may be broken off and done again.
    """
    if not await versions(tx, ensemble):
        return []
    await lock_sequence(tx, _VERSIONS, ensemble)
    return await versions(tx, ensemble)


def _wanted_of(known: Sequence[Version]) -> list[Version]:
    return [each for each in known if each.state is VersionState.WANTED]


async def _forestall(tx: AsyncSession, ensemble: str, known: Sequence[Version], reason: Reason, now: datetime) -> None:
    """Give up what is to be served of an ensemble, or to be made for it: a later command overtakes it."""
    for version in _wanted_of(known):
        await mark_failed(tx, ensemble, version.version, (reason,), now)
    await wishes.withdraw(tx, ensemble, reason, now)


async def _serve(tx: AsyncSession, version: Version, reasons: Reasons, now: datetime) -> None:
    """A version answers ticks: it takes the place of the one that did, for these reasons, and both are told.

    Whoever is on trial goes on with it beside the new champion, if that is heard, but is heard nowhere itself.
    """
    known = await versions(tx, version.ensemble)
    if (before := serving_of(known)) is not None:
        await _leave(tx, version, before, reasons, now)
    await change(tx, version, state=VersionState.DEPLOYED, deployed_at=now, canary=(), reasons=())
    said = {
        "experiment": version.experiment,
        "tickers": version.tickers,
        "timeframe": version.timeframe,
        "mode": version.mode,
        "members": version.members,
        "manifest_digest": version.digest,
        "command_id": version.command_id,
    }
    await tell(tx, EnsembleDeployed, version.name, version.version, now, **said)
    if challenger := challenger_of(known):
        await _go_on_with(tx, challenger, version, now)


async def _go_on_with(tx: AsyncSession, challenger: Version, champion: Version, now: datetime) -> None:
    message = f"version {champion.version} of {champion.ensemble} serves since, in mode {champion.mode}"
    reason = Reason(code="champion_changed", message=message)
    if not challenges(challenger, champion):
        await end_trial(tx, challenger, champion.version, (reason,), now)
    elif challenger.canary:
        await change(tx, challenger, canary=())
        await tell(tx, ChallengerCanary, challenger.name, champion.version, now, tickers=(), reasons=(reason,))


async def end_trial(
    tx: AsyncSession,
    challenger: Version,
    serving: int | None,
    reasons: Reasons,
    now: datetime,
    command_id: str | None = None,
) -> None:
    """A challenger answers no more; `serving` is the version that does."""
    await change(tx, challenger, state=VersionState.SUPERSEDED, ended_at=now, reasons=reasons, canary=())
    await tell(tx, ChallengerRetired, challenger.name, serving, now, reasons=reasons, command_id=command_id)


async def _leave(tx: AsyncSession, successor: Version, before: Version, reasons: Reasons, now: datetime) -> None:
    """The version that served does no longer; where one of a lower number takes its place, that is told."""
    state = left_by(before.version, successor.version)
    await change(tx, before, state=state, ended_at=now, reasons=reasons)
    if state is VersionState.ROLLED_BACK:
        said = {"reasons": reasons, "command_id": successor.command_id}
        await tell(tx, EnsembleRolledBack, before.name, successor.version, now, **said)


async def tell_deploying(tx: AsyncSession, proposal: Proposal, version: int, now: datetime) -> None:
    """Tell that a version is to answer ticks."""
    said = {"experiment": proposal.experiment, "command_id": proposal.command_id}
    of = (proposal.ensemble, version, proposal.experiment)
    await tell(tx, EnsembleDeploying, of, await _serving(tx, proposal.ensemble), now, **said)


async def change(tx: AsyncSession, version: Version, **changes: object) -> None:
    """Write where a version is."""
    this = (ensembles.c.ensemble == version.ensemble) & (ensembles.c.version == version.version)
    await tx.execute(update(ensembles).where(this).values(**changes))


def unknown(ensemble: str) -> Reason:
    """Nobody knows this ensemble."""
    return Reason(code="unknown_ensemble", where="/ensemble", message=f"there is no ensemble {ensemble}")

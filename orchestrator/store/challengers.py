"""Challengers: the version that is on trial beside the one that serves, at most one of each ensemble.

It answers the same ticks in shadow. What becomes of it is told on retraining-events, and where it is promoted, then it
takes the place of the champion as any version does (`ensembles.mark_deployed`).
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.gate import Override
from orchestrator.core.versions import VersionState
from orchestrator.store.ensembles import (
    Reasons,
    Version,
    challenger_of,
    challenges,
    change,
    end_trial,
    fulfil,
    serving_of,
    successors_of,
    take_wanted,
    taken,
    tell_deploying,
    unknown,
    versions,
)
from orchestrator.store.errors import NotWanted
from orchestrator.store.telling import tell
from schemas.base import Reason
from schemas.retraining import ChallengerCanary, ChallengerPromoted, ChallengerShadowing


async def mark_shadowing(tx: AsyncSession, ensemble: str, version: int, now: datetime) -> None:
    """The version answers ticks beside the champion, instead of the challenger before it; its experiment is deployed.

    Raises:
        NotWanted: nobody waits for this version, there is no champion that it could challenge, or another version is
            about to be that.
    """
    experiment, found = await take_wanted(tx, ensemble, version)
    known = await versions(tx, ensemble)
    champion = serving_of(known)
    if champion is None or not challenges(found, champion) or successors_of(known):
        raise NotWanted(ensemble, version, found.state)
    if before := challenger_of(known):
        message = f"version {version} of {ensemble} is on trial instead"
        await end_trial(tx, before, champion.version, (Reason(code="newer_challenger", message=message),), now)
    await change(tx, found, state=VersionState.SHADOWING, reasons=())
    said = {
        "experiment": found.experiment,
        "tickers": found.tickers,
        "timeframe": found.timeframe,
        "members": found.members,
        "manifest_digest": found.digest,
        "command_id": found.command_id,
    }
    await tell(tx, ChallengerShadowing, found.name, champion.version, now, **said)
    await fulfil(tx, experiment, now)


async def promote(
    tx: AsyncSession,
    ensemble: str,
    version: int,
    tickers: tuple[str, ...],
    override: Override,
    command_id: str,
    now: datetime,
    reasons: Reasons = (),
) -> Reasons:
    """Have the challenger heard as the champion is: on all instruments, as the next champion, or on some, as a canary.

    Args:
        tx: a transaction of `Database.commit`.
        ensemble: its name.
        version: the challenger's.
        tickers: on which it is heard instead of the champion, and on no others; empty: it becomes the champion.
        override: what may be heard that the gate has not let through.
        command_id: the command that wants it.
        now: when.
        reasons: what speaks for it.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await taken(tx, ensemble)
    challenger = _challenger(ensemble, version, known)
    if isinstance(challenger, Reason):
        return (challenger,)
    champion = serving_of(known)
    if champion is None:
        return (Reason(code="nothing_serves", where="/ensemble", message=f"no version of {ensemble} serves"),)
    if found := _gate(challenger, champion, override) or _not_covered(challenger, champion, tickers):
        return (found,)
    about = {"reasons": reasons, "command_id": command_id}
    if tickers:
        heard = tuple(sorted({*tickers}))
        await change(tx, challenger, canary=heard)
        await tell(tx, ChallengerCanary, challenger.name, champion.version, now, tickers=heard, **about)
        return ()
    # It goes on where it is heard until it serves.
    wanted = {"state": VersionState.WANTED, "mode": champion.mode, "command_id": command_id}
    await change(tx, challenger, **wanted)
    await tell(tx, ChallengerPromoted, challenger.name, champion.version, now, mode=champion.mode, **about)
    (promoted,) = [each for each in await versions(tx, ensemble) if each.version == version]
    await tell_deploying(tx, promoted, version, now)
    return ()


async def retire(
    tx: AsyncSession, ensemble: str, version: int, command_id: str, now: datetime, reasons: Reasons = ()
) -> Reasons:
    """The challenger's trial has ended, and the champion goes on, on all instruments.

    Returns:
        Why that cannot be; nothing was written then.
    """
    known = await taken(tx, ensemble)
    challenger = _challenger(ensemble, version, known)
    if isinstance(challenger, Reason):
        return (challenger,)
    champion = serving_of(known)
    await end_trial(tx, challenger, None if champion is None else champion.version, reasons, now, command_id)
    return ()


def _challenger(ensemble: str, version: int, known: list[Version]) -> Version | Reason:
    """The version, if it is on trial."""
    if not known:
        return unknown(ensemble)
    found = next((each for each in known if each.version == version), None)
    if found is None:
        return Reason(code="unknown_version", where="/version", message=f"{ensemble} has no version {version}")
    if found.state is VersionState.SHADOWING:
        return found
    other = challenger_of(known)
    who = "no version of it is" if other is None else f"version {other.version} is"
    message = f"version {version} of {ensemble} is {found.state}, and not on trial; {who}"
    return Reason(code="not_shadowing", where="/version", message=message)


def _gate(challenger: Version, champion: Version, override: Override) -> Reason | None:
    """Why the gate's verdict keeps a challenger from being heard as the champion is; None: it does not."""
    if challenger.verdict.passed or override == "live":
        return None
    if champion.mode == "live" or champion.verdict.passed:
        what = "is live" if champion.mode == "live" else "has passed"
        message = (
            f"the gate has not let version {challenger.version} of {challenger.ensemble} through, and version "
            f"{champion.version}, which serves, {what}; GATE_OVERRIDE=live lets you"
        )
        return Reason(code="gate_not_passed", where="/version", message=message)
    return None


def _not_covered(challenger: Version, champion: Version, tickers: tuple[str, ...]) -> Reason | None:
    """Why a challenger cannot be heard instead of the champion on some instruments; None: it can."""
    if not tickers:
        return None
    both = {*challenger.tickers} & {*champion.tickers}
    if other := sorted({*tickers} - both):
        message = f"{', '.join(other)}: not covered by both versions; those are {', '.join(sorted(both)) or 'none'}"
        return Reason(code="ticker_not_covered", where="/tickers", message=message[:4096])
    return None

"""Going on with experiments that were broken off, and breaking them off: what is written of it."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.lifecycle import SEARCHING, State, allowed
from orchestrator.core.resuming import Resuming, refusal, run_again
from orchestrator.store import experiments, leases, tables, trials
from orchestrator.store.errors import UnknownExperiment
from orchestrator.store.experiments import Experiment
from orchestrator.store.tables import TrialStatus
from schemas.base import Reason
from schemas.experiments import ExperimentCancelled

Reasons = tuple[Reason, ...]


async def named(tx: AsyncSession, name: str | None, search_key: str) -> Experiment | Reason:
    """The experiment that a request asks to go on with, or why there is none: it is unknown, or other work."""
    if name is None:
        message = "name the experiment to go on with, or leave `resume` out"
        return Reason(code="resume_without_name", where="/name", message=message)
    found = await experiments.by_name(tx, name)
    if found is None:
        message = f"there is no experiment {name} to go on with; leave `resume` out to begin it"
        return Reason(code="unknown_experiment", where="/name", message=message)
    if found.search_key != search_key:
        message = (
            f"{name} searches something else: to go on with it, ask for what it was asked for (space, tickers, data, "
            "costs and all that scores depend on); or give the new search a name of its own"
        )
        return Reason(code="resume_changed", where="/resume", message=message)
    return found


async def resume(tx: AsyncSession, experiment: str, resuming: Resuming, now: datetime) -> Reasons:
    """Have an experiment that failed or was cancelled accepted again; what has ended in it stays as it is.

    Returns:
        Why that cannot be; nothing was written then.
    """
    try:
        found = await experiments.take(tx, experiment)
    except UnknownExperiment as unknown:
        return (Reason(code="unknown_experiment", message=str(unknown)),)
    if reason := refusal(found.id, found.state, judged=found.verdict is not None, resuming=resuming):
        return (reason,)
    same = (tables.experiments.c.search_key == found.search_key) & tables.experiments.c.state.in_(SEARCHING)
    if other := await tx.scalar(select(tables.experiments.c.id).where(same)):
        message = f"the same work is under way as {other}: follow that, or resume when it has ended"
        return (Reason(code="same_work_under_way", message=message),)
    if resuming.errored:
        known = await trials.of_experiment(tx, found.id)
        failed = [trial for trial in known if trial.status is TrialStatus.FAILED]
        await trials.reopen(tx, found.id, run_again(failed, known))
    await experiments.advance(tx, found.id, State.ACCEPTED, None, now)
    # The driver of a search that was cancelled just now may not have been ended yet: another one leads it on.
    await leases.revoke(tx, leases.driver_of(found.id))
    return ()


async def cancel(tx: AsyncSession, experiment: str, now: datetime) -> Reasons:
    """End an experiment; trials that have ended stay.

    Returns:
        Why that cannot be; nothing was written then.
    """
    try:
        found = await experiments.take(tx, experiment)
    except UnknownExperiment as unknown:
        return (Reason(code="unknown_experiment", message=str(unknown)),)
    # Once the gate has spoken the search is over, also where nothing is to be deployed.
    if found.verdict is not None or State.CANCELLED not in allowed(found.state):
        return (Reason(code="not_cancellable", message=f"{experiment} is {found.state}: there is nothing to stop"),)
    event = ExperimentCancelled(experiment=found.id, request_id=found.request_id, sequence=0, emitted_at=now)
    await experiments.advance(tx, found.id, State.CANCELLED, event, now)
    return ()

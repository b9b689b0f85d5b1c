"""Events of ensembles and their challengers: each says of its version why that was searched for."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.outbox import append
from orchestrator.store.tables import experiments
from schemas.ensembles import EnsembleDeleted, EnsembleDeployed, EnsembleDeploying, EnsembleFailed, EnsembleRolledBack
from schemas.retraining import ChallengerCanary, ChallengerPromoted, ChallengerRetired, ChallengerShadowing
from schemas.topics import ENSEMBLE_EVENTS, RETRAINING_EVENTS

Change = type[EnsembleDeploying | EnsembleDeployed | EnsembleFailed | EnsembleRolledBack | EnsembleDeleted]
Trial = type[ChallengerShadowing | ChallengerCanary | ChallengerPromoted | ChallengerRetired]


async def tell(
    tx: AsyncSession,
    kind: Change | Trial,
    of: tuple[str, int, str | None],
    serving: int | None,
    now: datetime,
    **said: Any,
) -> None:
    """Queue an event about a version, with the cause and the trace of the request that its search was founded by.

    Args:
        tx: the transaction of what it tells of.
        kind: the event.
        of: ensemble, number and experiment of the version.
        serving: the version that answers ticks now; None: none does.
        now: when.
        said: what else the event says.
    """
    ensemble, version, experiment = of
    columns = experiments.c["request", "traceparent"]
    found = (await tx.execute(select(*columns).where(experiments.c.id == experiment))).one_or_none()
    event = kind(
        ensemble=ensemble,
        sequence=0,
        version=version,
        serving_version=serving,
        emitted_at=now,
        cause=None if found is None else found.request.cause,
        **said,
    )
    topic = RETRAINING_EVENTS if event.TYPE.startswith("retraining.") else ENSEMBLE_EVENTS
    await append(tx, topic, ensemble, event, now, None if found is None else found.traceparent)

"""Policies of ensembles, and what they have triggered: each trigger asks for one search, and is told of by an event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store import outbox
from orchestrator.store.database import insert_new
from orchestrator.store.sequences import lock_sequence, take_sequences
from orchestrator.store.tables import policies, triggers
from schemas.base import JsonObject
from schemas.policies import Policy
from schemas.retraining import RetrainingTriggered
from schemas.search import SearchRequest
from schemas.topics import RETRAINING_EVENTS, SEARCH_REQUESTS

MOST_JOINED = 100
"""Causes kept with a trigger; of more, the first ones."""
_TRIGGERS = "triggers"


@dataclass(frozen=True)
class StandingPolicy:
    """An ensemble's policy, and since when it has it."""

    ensemble: str
    policy: Policy
    command_id: str
    set_at: datetime


@dataclass(frozen=True)
class Trigger:
    """A rule that fired, and the request that it made."""

    request_id: str
    ensemble: str
    version: int
    """The one that served, or whose successor is asked for."""
    kind: str
    cause: JsonObject
    trials: int
    """At most; what the budget is counted by."""
    joined: list[JsonObject]
    fired_at: datetime

    @property
    def takes_more(self) -> bool:
        """Whether causes that join it are kept."""
        return len(self.joined) < MOST_JOINED


async def set_policy(tx: AsyncSession, ensemble: str, policy: Policy, command_id: str, now: datetime) -> None:
    """The ensemble has this policy from now on."""
    row = {"policy": policy, "command_id": command_id, "set_at": now}
    if not await insert_new(tx, policies, [{"ensemble": ensemble, **row}]):
        await tx.execute(update(policies).where(policies.c.ensemble == ensemble).values(row))


async def remove_policy(tx: AsyncSession, ensemble: str) -> bool:
    """The ensemble has no policy any more; False: it had none."""
    gone = await tx.scalars(delete(policies).where(policies.c.ensemble == ensemble).returning(policies.c.ensemble))
    return gone.one_or_none() is not None


async def standing(tx: AsyncSession) -> dict[str, StandingPolicy]:
    """Every policy, by ensemble."""
    rows = await tx.execute(select(policies).order_by(policies.c.ensemble))
    return {row.ensemble: StandingPolicy(**row._mapping) for row in rows}


async def policy_of(tx: AsyncSession, ensemble: str) -> StandingPolicy | None:
    """The ensemble's policy; None: it has none."""
    row = (await tx.execute(select(policies).where(policies.c.ensemble == ensemble))).one_or_none()
    return None if row is None else StandingPolicy(**row._mapping)


async def next_request_id(tx: AsyncSession, ensemble: str) -> str:
    """The id of the ensemble's next trigger, and of its request; whoever asks next waits for this transaction."""
    number = await take_sequences(tx, _TRIGGERS, ensemble)
    return f"retrain.{ensemble}.{number}"


def is_ours(request_id: str, ensemble: str) -> bool:
    """Whether a request may be called so by a trigger of the ensemble, and by nobody else."""
    return request_id.startswith(f"retrain.{ensemble}.")


async def hold(tx: AsyncSession, ensemble: str) -> None:
    """Nothing else is triggered for the ensemble until this transaction ends."""
    await lock_sequence(tx, _TRIGGERS, ensemble)


async def fire(
    tx: AsyncSession,
    trigger: Trigger,
    request: SearchRequest | None,
    serving: int | None,
    now: datetime,
    command_id: str | None = None,
) -> None:
    """Write a trigger, with the request that it makes and the event that tells of it.

    Args:
        tx: a transaction of `Database.commit`.
        trigger: the rule that fired; its request id is new.
        request: what is asked for; None: somebody else has asked already.
        serving: the version that serves.
        now: when.
        command_id: the command that asked for it; None: none did.
    """
    row: Mapping[str, Any] = vars(trigger)
    await tx.execute(insert(triggers), [row])
    if request is not None:
        await outbox.order(tx, SEARCH_REQUESTS, request.request_id, request.request_id, request, now)
    event = RetrainingTriggered(
        ensemble=trigger.ensemble,
        sequence=0,
        version=trigger.version,
        serving_version=serving,
        emitted_at=now,
        command_id=command_id,
        request_id=trigger.request_id,
        cause=trigger.cause,
    )
    await outbox.append(tx, RETRAINING_EVENTS, trigger.ensemble, event, now)


async def join(tx: AsyncSession, request_id: str, cause: JsonObject) -> bool:
    """A cause came inside a trigger's cool-down; False: it is kept already, or there are too many."""
    this = triggers.c.request_id == request_id
    joined = [*(await tx.scalars(select(triggers.c.joined).where(this).with_for_update())).one()]
    if cause in joined or len(joined) >= MOST_JOINED:
        return False
    await tx.execute(update(triggers).where(this).values(joined=[*joined, cause]))
    return True


async def triggered(tx: AsyncSession, ensemble: str, limit: int = 20) -> list[Trigger]:
    """What was triggered for the ensemble, newest first."""
    newest = (triggers.c.fired_at.desc(), triggers.c.request_id.desc())
    found = select(triggers).where(triggers.c.ensemble == ensemble).order_by(*newest).limit(limit)
    return [Trigger(**row._mapping) for row in await tx.execute(found)]


async def trials_since(tx: AsyncSession, ensemble: str, since: datetime) -> int:
    """Trials that were triggered for the ensemble since then."""
    of = (triggers.c.ensemble == ensemble) & (triggers.c.fired_at >= since)
    return int(await tx.scalar(select(func.coalesce(func.sum(triggers.c.trials), 0)).where(of)) or 0)

"""The registry of models that were trained elsewhere, and the versions of ensembles that commands ask for of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.models import RegisteredModel
from orchestrator.core.versions import VersionState
from orchestrator.store import tables
from orchestrator.store.database import insert_new
from orchestrator.store.outbox import append
from orchestrator.store.tables import ensembles, model_wishes, wishes
from schemas.base import Reason
from schemas.commands import AddMember, DeployEnsemble
from schemas.experiments import ExperimentRejected
from schemas.topics import EXPERIMENT_EVENTS

Reasons = tuple[Reason, ...]


@dataclass(frozen=True)
class ModelWish:
    """A version that one command asks for."""

    command: DeployEnsemble | AddMember
    wished_at: datetime


async def register(tx: AsyncSession, model: RegisteredModel) -> Reasons:
    """Register a model; once more, and said to be the same, it stays as it was registered first.

    Returns:
        Why that cannot be; nothing was written then.
    """
    if await insert_new(tx, tables.models, [dict(model)]):
        return ()
    before = await named(tx, model.digest)
    if before is None:
        message = f"another file is registered as {model.name}: choose another name"
        return (Reason(code="name_taken", where=model.name, message=message),)
    known, told = dict(before), dict(model)
    if differing := [field for field in told if field != "registered_at" and told[field] != known[field]]:
        said = ", ".join(f"{field} {known[field]}" for field in differing)
        message = f"this very file is registered as {before.name} with {said}: what is registered does not change"
        return (Reason(code="registered_otherwise", where=model.name, message=message[:4096]),)
    return ()


async def named(tx: AsyncSession, name: str) -> RegisteredModel | None:
    """The model of this digest, or of this name."""
    which = or_(tables.models.c.digest == name, tables.models.c.name == name)
    row = (await tx.execute(select(tables.models).where(which).order_by(tables.models.c.digest != name))).first()
    return None if row is None else RegisteredModel(**row._mapping)


async def every(tx: AsyncSession) -> list[RegisteredModel]:
    """Every model, by name."""
    rows = await tx.execute(select(tables.models).order_by(tables.models.c.name))
    return [RegisteredModel(**row._mapping) for row in rows]


async def of_digests(tx: AsyncSession, digests: Collection[str]) -> dict[str, RegisteredModel]:
    """Those of these digests that are registered."""
    rows = await tx.execute(select(tables.models).where(tables.models.c.digest.in_(digests)))
    return {row.digest: RegisteredModel(**row._mapping) for row in rows}


async def wish(tx: AsyncSession, command: DeployEnsemble | AddMember, now: datetime) -> None:
    """Have the version made that a command asks for."""
    row = {"command_id": command.command_id, "ensemble": command.ensemble, "command": command, "wished_at": now}
    await tx.execute(insert(model_wishes), [row])


async def ready(tx: AsyncSession) -> list[ModelWish]:
    """What can be made now, oldest first: of each ensemble the oldest, once what was ordered before is settled.

    A version that waits to be served, or one of a search that is being made, may be what is built upon.
    """
    order = (model_wishes.c.wished_at, model_wishes.c.command_id)
    waiting = ensembles.c.state == VersionState.WANTED
    busy = {*await tx.scalars(select(ensembles.c.ensemble).where(waiting))}
    earlier = [*await tx.execute(select(wishes.c.ensemble, wishes.c.wished_at))]
    found: list[ModelWish] = []
    for row in await tx.execute(select(model_wishes).order_by(*order)):
        first = all(each.ensemble != row.ensemble or each.wished_at > row.wished_at for each in earlier)
        if row.ensemble not in busy and first:
            found.append(ModelWish(row.command, row.wished_at))
        busy.add(row.ensemble)
    return found


async def settle(tx: AsyncSession, command_id: str) -> bool:
    """The wish is settled; False: it was withdrawn meanwhile, and nothing is to be made of it."""
    gone = await tx.scalars(
        delete(model_wishes).where(model_wishes.c.command_id == command_id).returning(model_wishes.c.command_id)
    )
    return gone.one_or_none() is not None


async def refuse(tx: AsyncSession, which: ColumnElement[bool], reasons: Reasons, now: datetime) -> None:
    """Nothing is made of these wishes; each command is told so by a `rejected` event under its id."""
    rows = await tx.scalars(delete(model_wishes).where(which).returning(model_wishes.c.command_id))
    for command_id in sorted(rows):
        event = ExperimentRejected(experiment=None, request_id=command_id, sequence=0, emitted_at=now, reasons=reasons)
        await append(tx, EXPERIMENT_EVENTS, command_id, event, now)


async def refuse_one(tx: AsyncSession, command_id: str, reasons: Reasons, now: datetime) -> None:
    """Nothing is made of one command's wish."""
    await refuse(tx, model_wishes.c.command_id == command_id, reasons, now)

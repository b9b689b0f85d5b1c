"""Where the detectors of the versions stand whose ensembles have a policy, and up to which tick that is known."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.drift import Watch
from orchestrator.core.versions import VersionState
from orchestrator.store.database import insert_new
from orchestrator.store.tables import ensembles, policies, watch_read, watches
from schemas.base import JsonObject
from schemas.policies import Policy

Place = tuple[str, int]
"""Topic and partition."""
Numbered = tuple[str, int]
"""Ensemble and version."""
Spot = tuple[str, int, str]
"""Ensemble, version and ticker."""


@dataclass(frozen=True)
class Champion:
    """A version that serves an ensemble with a policy."""

    ensemble: str
    version: int
    policy: Policy
    since: datetime
    """When it had both: it serves, and has a policy."""


async def champions(tx: AsyncSession) -> list[Champion]:
    """The versions that serve ensembles with a policy, by ensemble."""
    serving = (ensembles.c.ensemble == policies.c.ensemble) & (ensembles.c.state == VersionState.DEPLOYED)
    columns = (policies.c.ensemble, ensembles.c.version, policies.c.policy, policies.c.set_at, ensembles.c.deployed_at)
    rows = await tx.execute(select(*columns).join_from(policies, ensembles, serving).order_by(policies.c.ensemble))
    return [Champion(row.ensemble, row.version, row.policy, max(row.set_at, row.deployed_at)) for row in rows]


async def manifest(tx: AsyncSession, ensemble: str, version: int) -> JsonObject:
    """What the version is."""
    this = (ensembles.c.ensemble == ensemble) & (ensembles.c.version == version)
    found: JsonObject = (await tx.execute(select(ensembles.c.manifest).where(this))).scalar_one()
    return found


async def read(tx: AsyncSession) -> dict[Place, int]:
    """The offset of the first tick that is not in the watches yet, of each partition; none: nobody reads."""
    return {(row.topic, row.partition): row.next for row in await tx.execute(select(watch_read))}


async def everything(tx: AsyncSession) -> dict[Spot, Watch]:
    """Every watch there is."""
    return {(row.ensemble, row.version, row.ticker): row.watch for row in await tx.execute(select(watches))}


async def of(tx: AsyncSession, ensemble: str, version: int) -> dict[str, Watch]:
    """A version's watches by ticker."""
    this = (watches.c.ensemble == ensemble) & (watches.c.version == version)
    return {row.ticker: row.watch for row in await tx.execute(select(watches).where(this).order_by(watches.c.ticker))}


async def save(tx: AsyncSession, changed: Mapping[Spot, Watch], read_to: Mapping[Place, int]) -> None:
    """Write watches, and how far was read for them: both, or neither."""
    rows = [
        {"ensemble": ensemble, "version": version, "ticker": ticker, "watch": watch}
        for (ensemble, version, ticker), watch in changed.items()
    ]
    new = await insert_new(tx, watches, rows)
    if again := [row for row in rows if (row["ensemble"], row["version"], row["ticker"]) not in new]:
        this = [watches.c[name] == bindparam(f"of_{name}") for name in ("ensemble", "version", "ticker")]
        given = [{f"of_{name}": value for name, value in row.items()} for row in again]
        connection = await tx.connection()
        await connection.execute(update(watches).where(*this).values(watch=bindparam("of_watch")), given)
    for (topic, partition), offset in read_to.items():
        row = {"topic": topic, "partition": partition, "next": offset}
        if not await insert_new(tx, watch_read, [row]):
            place = (watch_read.c.topic == topic) & (watch_read.c.partition == partition)
            await tx.execute(update(watch_read).where(place).values(next=offset))


async def keep(tx: AsyncSession, watched: Collection[Numbered]) -> None:
    """Forget the watches of every other version; where none is left, how far was read, too."""
    await tx.execute(delete(watches).where(tuple_(watches.c.ensemble, watches.c.version).not_in(watched)))
    if not watched:
        await tx.execute(delete(watch_read))

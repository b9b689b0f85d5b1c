"""The ledger: every configuration ever scored in a lineage, and every look at a hold-out span.

Both only grow: what was tried once was tried, whatever became of its experiment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import insert_new
from orchestrator.store.sequences import lock_sequence, take_sequences
from orchestrator.store.tables import holdout_looks, ledger

_LOOKS = "holdout-looks"


@dataclass(frozen=True, eq=False)
class LedgerRow:
    """One configuration's score; of a lineage and a fingerprint there is one."""

    lineage: str
    fingerprint: str
    experiment: str
    ticker: str
    sharpe_per_session: float | None
    """Null where it is not defined."""
    sessions: int
    span_digest: str
    """Of the sessions that `profit` is about."""
    profit: npt.NDArray[np.float32]
    """(sessions,) net profit and loss by session; kept as float32."""


async def record(tx: AsyncSession, rows: Sequence[LedgerRow], now: datetime) -> int:
    """Write what is not in the ledger yet and return how many rows that is."""
    written = [{**vars(row), "profit": row.profit.astype(np.float32), "recorded_at": now} for row in rows]
    return len(await insert_new(tx, ledger, written))


async def of_lineage(tx: AsyncSession, lineage: str) -> list[LedgerRow]:
    """All of the lineage's rows, in the order of their fingerprints."""
    columns = [ledger.c[name] for name in LedgerRow.__dataclass_fields__]
    rows = await tx.execute(select(*columns).where(ledger.c.lineage == lineage).order_by(ledger.c.fingerprint))
    return [LedgerRow(**row._mapping) for row in rows]


async def record_look(tx: AsyncSession, lineage: str, span: str, experiment: str, now: datetime) -> int:
    """Count the experiment's look at a hold-out span and return its number, from 1; looking again is the same look."""
    series = f"{lineage}:{span}"
    await lock_sequence(tx, _LOOKS, series)
    look = {"lineage": lineage, "span": span, "experiment": experiment}
    same = [holdout_looks.c[column] == value for column, value in look.items()]
    if (number := await tx.scalar(select(holdout_looks.c.number).where(*same))) is None:
        number = await take_sequences(tx, _LOOKS, series)
        await insert_new(tx, holdout_looks, [{**look, "number": number, "looked_at": now}])
    return int(number)

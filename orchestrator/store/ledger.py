"""The ledger: every configuration ever scored in a lineage, and every look at a hold-out.

Both only grow: what was tried once was tried, whatever became of its experiment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.gate import Span, look_number
from orchestrator.store.database import insert_new
from orchestrator.store.sequences import lock_sequence
from orchestrator.store.tables import holdout_looks, ledger

_LOOKS = "holdout-looks"


@dataclass(frozen=True, eq=False)
class LedgerRow:
    """One configuration's score on one ticker; of a lineage and a fingerprint there is one."""

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
    """Write what is not in the ledger yet and return how many rows that is.

    A trial that has been trained further by the same experiment has its row replaced: it is one configuration still.
    """
    for row in rows:
        key = (ledger.c.lineage == row.lineage) & (ledger.c.fingerprint == row.fingerprint)
        await tx.execute(delete(ledger).where(key & (ledger.c.experiment == row.experiment)))
    written = [{**vars(row), "profit": row.profit.astype(np.float32), "recorded_at": now} for row in rows]
    return len(await insert_new(tx, ledger, written))


async def of_lineages(tx: AsyncSession, lineages: Collection[str]) -> list[LedgerRow]:
    """All rows of these lineages, in the order of their tickers and fingerprints."""
    columns = [ledger.c[name] for name in LedgerRow.__dataclass_fields__]
    of_them = select(*columns).where(ledger.c.lineage.in_(lineages))
    rows = await tx.execute(of_them.order_by(ledger.c.ticker, ledger.c.fingerprint))
    return [LedgerRow(**row._mapping) for row in rows]


async def record_looks(tx: AsyncSession, spans: Mapping[str, Span], experiment: str, now: datetime) -> int:
    """Count an experiment's look at hold-outs and return its number, from 1: the largest over the lineages.

    In a lineage it comes after every look that another experiment has taken at an overlapping span. Looking again at
    the same span is the same look. Whoever looks at the same lineage next waits until this transaction ends.

    Args:
        tx: a transaction that writes.
        spans: what is looked at, by lineage, one at least.
        experiment: whose look it is.
        now: when it is taken.
    """
    # In one order, so that two experiments never wait for each other.
    return max([await _look(tx, lineage, spans[lineage], experiment, now) for lineage in sorted(spans)])


async def _look(tx: AsyncSession, lineage: str, span: Span, experiment: str, now: datetime) -> int:
    await lock_sequence(tx, _LOOKS, lineage)
    taken = (await tx.execute(select(holdout_looks).where(holdout_looks.c.lineage == lineage))).all()
    for look in taken:
        if look.experiment == experiment and Span(look.span_start, look.span_end) == span:
            return int(look.number)
    number = look_number(
        span, [Span(look.span_start, look.span_end) for look in taken if look.experiment != experiment]
    )
    look_taken = {"lineage": lineage, "experiment": experiment, "span_start": span.start, "span_end": span.end}
    await insert_new(tx, holdout_looks, [{**look_taken, "number": number, "looked_at": now}])
    return number

"""What the store's tests write and how they look at what is there."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select, update

from orchestrator.core.lifecycle import LINE, State
from orchestrator.store import ensembles, experiments, outbox, requests, trials
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease, acquire
from orchestrator.store.tables import leases, metadata
from schemas.base import Reason
from schemas.envelope import decode
from schemas.experiments import ExperimentProgress, GateVerdict
from schemas.search import SearchRequest
from schemas.topics import TOPICS

NOW = datetime(2026, 1, 15, 21, 0, 0, 123456, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REASON = Reason(code="broken", where="/x", message="it broke")
VERDICT = GateVerdict(
    passed=True,
    deflated_sharpe=0.97,
    active_deflated_sharpe=None,
    trials=12,
    benchmark_sharpe=0.05,
    sharpe_ratio=1.1,
    sessions=500,
    required=0.95,
)


def digest(number: int) -> str:
    """A digest that stands for `number`."""
    return f"{number:064x}"


def search(request_id: str = "request-1", **fields: Any) -> SearchRequest:
    """A search request."""
    base: dict[str, Any] = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ("AAPL", "MSFT")}
    return SearchRequest(request_id=request_id, **(base | fields))


async def admit(
    db: Database, request: SearchRequest, search_key: str = digest(1), *, trials: int = 2, now: datetime = NOW
) -> requests.Admission:
    """Admit the request in a transaction of its own."""
    async with db.transaction() as tx:
        return await requests.admit(
            tx,
            request,
            raw=request.model_dump_json().encode(),
            trials=trials,
            search_key=search_key,
            now=now,
            traceparent=TRACE,
        )


async def founded(
    db: Database, number: int = 1, state: State = State.ACCEPTED, now: datetime = NOW, **fields: Any
) -> str:
    """Found an experiment of its own and bring it to a state of the line; its id."""
    admission = await admit(db, search(f"request-{number}", **fields), digest(number), now=now)
    assert isinstance(admission, requests.Accepted)
    for passed in LINE[1 : LINE.index(state) + 1]:
        async with db.transaction() as tx:
            await experiments.advance(tx, admission.experiment, passed, None, now)
    return admission.experiment


def progress(experiment: str, finished: int = 0) -> ExperimentProgress:
    """A progress event."""
    return ExperimentProgress(
        experiment=experiment,
        request_id="request-1",
        sequence=0,
        emitted_at=NOW,
        finished=finished,
        failed=0,
        trials=2,
        best=None,
    )


def planned(count: int, first: int = 0) -> list[trials.PlannedTrial]:
    """Trials to plan, in the order of their names."""
    return [
        trials.PlannedTrial(
            trial=f"t{number:05d}",
            tickers=("AAPL",),
            configuration={"alpha": 0.1 * (number + 1), "l1_ratio": 0.5, "fit_intercept": True, "steps": number},
            fingerprint=digest(number),
            data_hash=digest(7),
        )
        for number in range(first, first + count)
    ]


def completed(trial: str, values: Sequence[float] = (0.01, float("nan"), -0.02)) -> trials.Completed:
    """A trial that ended well."""
    history = trials.History(prediction=np.array(values), profit=np.array(values[:2]))
    return trials.Completed(trial, {"sharpe_ratio": 1.25, "sortino_ratio": None}, True, 0.5, history)


def proposal(experiment: str | None, ensemble: str = "bot", **fields: Any) -> ensembles.Proposal:
    """An ensemble's version to propose."""
    base: dict[str, Any] = {
        "manifest": {"members": [{"weight": 0.1}], "note": None},
        "digest": digest(9),
        "members": 1,
        "mode": "paper",
        "tickers": ("AAPL",),
        "timeframe": "1d",
        "verdict": VERDICT,
    }
    return ensembles.Proposal(ensemble=ensemble, experiment=experiment, **(base | fields))


async def everything(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as text where it has no order of its own."""
    async with db.snapshot() as tx:
        return {
            table.name: sorted(tuple(map(repr, row)) for row in await tx.execute(select(table)))
            for table in metadata.sorted_tables
        }


async def events(db: Database, topic: str, key: str | None = None) -> list[Any]:
    """The events of the outbox on `topic`, decoded, in the order of publishing."""
    models = {known.name: known.messages for known in TOPICS}
    async with db.snapshot() as tx:
        rows = await outbox.pending(tx, 100_000)
    return [decode(models[row.topic], row.value) for row in rows if row.topic == topic and key in (None, row.key)]


async def run_out(db: Database, lease: str) -> None:
    """Have the lease of this name run out."""
    async with db.transaction() as tx:
        await tx.execute(update(leases).where(leases.c.name == lease).values(expires_at=NOW))


async def taken_over(db: Database, lease: str, holder: str) -> Lease:
    """Have the lease of this name run out, and `holder` acquire it before its old holder can renew it."""
    async with db.transaction() as tx:
        await tx.execute(update(leases).where(leases.c.name == lease).values(expires_at=NOW))
        acquired = await acquire(tx, lease, holder, timedelta(minutes=1))
    assert acquired is not None
    return acquired


def later(seconds: float) -> datetime:
    """So long after NOW."""
    return NOW + timedelta(seconds=seconds)

"""What does asking again cost, and are searches that overlap trained once?

    python -m benchmarks.again

A grid of 200 elastic nets on 50,000 x 20 is asked for on a store and a Ray of its own, as the service does it: the
intake records the request, the reconciler sees that it is led. Then the same is asked again under another id. Then two
grids that share half of their configurations, at once, and two others one after the other. Seconds are from the
request's arrival to its `completed` event; fits are trials that a worker has had. The last line is one JSON object; the
exit status is 1 where a target is missed. `python -m benchmarks.search` runs it as the part `again`.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.searching import COLUMNS, CORRELATION, DEVIATION, ROWS, TICKER, TIMEFRAME, service
from benchmarks.targets import Figures, missed
from orchestrator.core.calendar import calendar_named
from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, outbox
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease
from orchestrator.store.tables import requests
from schemas.base import Message, Scalar
from schemas.envelope import decode
from schemas.experiments import ExperimentCompleted
from schemas.search import SearchRequest
from schemas.topics import EXPERIMENT_EVENTS, SEARCH_REQUESTS, TRIAL_EVENTS, Topic
from schemas.trials import TrialStarted
from streams.publisher import Outgoing
from streams.settings import Settings
from streams.source import Record

ALPHAS = tuple(float(f"{alpha:.4g}") for alpha in np.geomspace(0.0005, 0.02, 20))
RATIOS = tuple(round(0.05 + 0.06 * number, 2) for number in range(15))
SHARED = 50
"""Configurations that two grids of 100 share."""
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 0.02
Grid = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Asked:
    """What became of a request: the configurations of its search, how many were trained, and how long it took."""

    configurations: int
    fits: int
    seconds: float
    drivers: int
    """Ray actors that have led it."""


def write_features(directory: Path) -> None:
    """Bars of five minutes that a forecast knows a little of, as the other search benchmarks have them."""
    rng = np.random.default_rng(1)
    closes = calendar_named().session_closes(datetime(2015, 1, 2, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC))
    before = np.arange(77, -1, -1) * np.timedelta64(5, "m")
    times = (closes[:, None] - before).ravel()[:ROWS]
    features = rng.normal(size=(ROWS, COLUMNS))
    weights = np.where(np.arange(COLUMNS) < COLUMNS // 2, CORRELATION, 0.0)
    earned = 0.1 * DEVIATION * (features @ weights + np.sqrt(1 - weights @ weights) * rng.normal(size=ROWS))
    # Decided at the close of t, a position is held from the open of t + 1 to the open of t + 2.
    opens = 100 * np.exp(np.cumsum(np.concatenate([np.zeros(2), earned]))[:ROWS])
    columns = {
        "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
        "open": opens,
        "close": opens * np.exp(0.0001 * rng.normal(size=ROWS)),
        **{f"f{number}": column for number, column in enumerate(features.T)},
    }
    folder = directory / TICKER / TIMEFRAME
    folder.mkdir(parents=True)
    pa.parquet.write_table(pa.table(columns), folder / "bars.parquet")


class Nobody:
    """Takes no dead letters."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Only nothing.

        Raises:
            RuntimeError: a request was refused.
        """
        if records:
            raise RuntimeError(f"a request was refused: {records[0].headers}")


class Desk:
    """The part of the service between Kafka and Ray: what takes requests, and what sees that they are done."""

    def __init__(self, settings: Settings, database: Database) -> None:
        # Ray reads its environment when it is imported.
        from orchestrator.search.answering import Answers
        from orchestrator.search.launching import Launcher
        from serving.artifacts import Artifacts
        from serving.assemble import EnsembleAssembler
        from streams.answering import KnownFirst
        from streams.intake import Intake
        from streams.judging import judge
        from streams.leading import Leadership
        from streams.reconciling import Reconciler
        from streams.worker import driver_settings, utc_now

        driven, assembler = driver_settings(settings), EnsembleAssembler(Artifacts(settings.data_dir / "artifacts"))
        self.database = database
        self.launched: list[str] = []
        self.launcher = Launcher(driven, assembler)
        self.drivers = KnownFirst(database, Answers(driven, assembler, utc_now), self)
        leadership = Leadership(database, "reconciler", "again", timedelta(seconds=driven.lease_seconds))
        self.reconciler = Reconciler(
            leadership=leadership,
            drivers=self.drivers,
            most=settings.max_concurrent_experiments,
            clock=utc_now,
            on_failure=self._fail,
        )
        self.intake = Intake(
            database=database,
            judge=judge(settings),
            publisher=Nobody(),
            clock=utc_now,
            on_accepted=self.reconciler.wake,
        )
        self.failure: BaseException | None = None

    async def stop(self) -> None:
        """Nobody is launched any more."""
        await self.reconciler.stop()
        await self.drivers.stop()

    async def launch(self, experiment: str, lease: Lease) -> None:
        """As the launcher does, noted."""
        self.launched.append(experiment)
        await self.launcher.launch(experiment, lease)

    async def alive(self, lease: Lease) -> bool:
        """As the launcher says."""
        return await self.launcher.alive(lease)

    async def end(self, lease: Lease) -> None:
        """As the launcher does."""
        await self.launcher.end(lease)

    def _fail(self, error: BaseException) -> None:
        self.failure = error

    async def ask(self, grids: Mapping[str, Grid]) -> dict[str, Asked]:
        """Ask for grids at once, by request id, and wait for the end of all."""
        began = datetime.now(UTC)
        records = [Record(SEARCH_REQUESTS.name, 0, 0, None, _request(*each), ()) for each in grids.items()]
        await self.intake.take(records)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return {name: await self._answer(name, began) for name in grids}

    async def _answer(self, request_id: str, began: datetime) -> Asked:
        while not await self._is_over(request_id):
            await asyncio.sleep(LOOK_SECONDS)
            if self.failure is not None:
                raise self.failure
        async with self.database.snapshot() as tx:
            name = await _experiment(tx, request_id)
            told = [event for topic in (EXPERIMENT_EVENTS, TRIAL_EVENTS) for event in await _told(tx, topic, name)]
        (completed,) = (event for event in told if isinstance(event, ExperimentCompleted))
        return Asked(
            configurations=completed.finished,
            fits=sum(isinstance(event, TrialStarted) for event in told),
            seconds=(completed.emitted_at - began).total_seconds(),
            drivers=self.launched.count(name),
        )

    async def _is_over(self, request_id: str) -> bool:
        """Whether its ensemble is judged; then there is nothing left to do for anybody here.

        Raises:
            RuntimeError: it has failed.
        """
        async with self.database.snapshot() as tx:
            found = await experiments.get(tx, await _experiment(tx, request_id))
        if found.state is State.FAILED:
            raise RuntimeError(f"{found.id} failed: {found.reasons}")
        return found.verdict is not None


async def _experiment(tx: AsyncSession, request_id: str) -> str:
    asked = select(requests.c.experiment).where(requests.c.request_id == request_id)
    name: str = (await tx.execute(asked)).scalar_one()
    return name


async def _told(tx: AsyncSession, topic: Topic, experiment: str) -> Iterator[Message]:
    """Its events on a topic; there is no relay, so that all of them are still in the outbox."""
    rows = await outbox.pending(tx, 1_000_000)
    return (decode(topic.messages, row.value) for row in rows if (row.topic, row.key) == (topic.name, experiment))


def _request(request_id: str, grid: Grid) -> bytes:
    values: dict[str, tuple[Scalar, ...]] = {name: tuple(each) for name, each in grid.items()}
    request = SearchRequest(
        request_id=request_id,
        strategy="grid",
        algorithm="elasticnet",
        tickers=(TICKER,),
        timeframe=TIMEFRAME,
        horizon=1,
        param_grid=values,
    )
    return request.model_dump_json().encode()


def run() -> Figures:
    """All of it, on a store and a Ray head of its own."""
    with TemporaryDirectory(prefix="again-") as folder, service(Path(folder) / "service", say):
        write_features(Path(folder) / "features")
        settings = Settings.read({"DATA_DIR": f"{folder}/service", "FEATURES_DIR": f"{folder}/features"})
        return asyncio.run(_measured(settings))


async def _measured(settings: Settings) -> Figures:
    database = Database.open(settings.store_url)
    await database.upgrade()
    desk = Desk(settings, database)
    await desk.reconciler.start()
    try:
        for warm_up in ("driver", "answer"):
            await desk.ask({warm_up: {"alpha": (0.1,), "l1_ratio": (0.99,)}})
        grid = {"alpha": ALPHAS, "l1_ratio": RATIOS[:10]}
        cold, again = [(await desk.ask({name: grid}))[name] for name in ("cold", "again")]
        for name, asked in (("asked for the first time", cold), ("asked again", again)):
            say(f"{name}: {vars(asked)}")
        at_once, in_turn = await _overlapping(desk)
    finally:
        await desk.stop()
        await database.close()
    if cold.configurations != again.configurations or cold.fits != cold.configurations:
        raise RuntimeError(f"other configurations were searched than were asked for: {cold}, {again}")
    return {
        **vars(again),
        "cold": vars(cold),
        "at_once": at_once,
        "in_turn": in_turn,
        "fitted_twice": in_turn - (200 - SHARED),
    }


async def _overlapping(desk: Desk) -> tuple[int, int]:
    """Fits of two grids of 100 that share half, asked for at once, and of two others, one after the other."""

    def pair(number: int) -> dict[str, Grid]:
        alphas = tuple(alpha + number * 1e-5 for alpha in ALPHAS[:10])
        return {
            f"{number}-one": {"alpha": alphas, "l1_ratio": RATIOS[:10]},
            f"{number}-other": {"alpha": alphas, "l1_ratio": RATIOS[5:]},
        }

    together = list((await desk.ask(pair(1))).values())
    apart = [(await desk.ask({name: grid}))[name] for name, grid in pair(2).items()]
    for how, asked in (("at once", together), ("one after the other", apart)):
        fits = " + ".join(str(each.fits) for each in asked)
        say(f"two grids of 100 that share {SHARED}, {how}: {fits} fits; {200 - SHARED} different configurations")
    return sum(each.fits for each in together), sum(each.fits for each in apart)


def say(line: str) -> None:
    """Print it at once."""
    print(line, flush=True)


def main() -> int:
    """Run it, and print the figures as JSON."""
    figures = run()
    left = missed({"again": figures})
    say(json.dumps({**figures, "missed": left}))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

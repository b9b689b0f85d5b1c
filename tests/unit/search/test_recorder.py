import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.outcomes import Earned, Failed, Scored, Started
from orchestrator.search.plan import PlannedTrial
from orchestrator.search.recorder import Progress, Recorder, RecordingStopped, Subject, span_digest
from orchestrator.search.streamed import Kept
from orchestrator.store import ledger, trials
from orchestrator.store.database import Database
from orchestrator.store.errors import TrialsNotOpen
from orchestrator.store.tables import TrialStatus
from schemas.base import Reason
from tests.contracts.store.makers import admit, digest, events, search

NAMES = ("t00001", "t00002", "t00003")
EXPERIMENT = "grid"
FINGERPRINTS = {name: digest(number) for number, name in enumerate(NAMES)}
PLANNED = {name: PlannedTrial(name, ("AAPL",), {}, fingerprint) for name, fingerprint in FINGERPRINTS.items()}
SUBJECT = Subject(EXPERIMENT, "request-1", {"AAPL": "lineage"}, {"AAPL": digest(1)}, "sharpe_ratio", PLANNED)
FAILED = Failed("t00002", (Reason(code="broken", message="it broke"),), 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def scored(
    trial: str, sharpe: float | None = 1.0, *, eligible: bool = True, step: int = 1, last: bool = True
) -> Scored:
    return Scored(
        trial=trial,
        step=step,
        budget=None if last and step == 1 else 10 * step,
        last=last,
        metrics={"sharpe_ratio": sharpe},
        eligible=eligible,
        reasons=(),
        prediction=np.array([0.1, np.nan, -0.2]),
        earned=(Earned("AAPL", np.array([3, 4, 5]), np.array([0.01, 0.0, -0.02])),),
        seconds=0.5,
        fingerprint=digest(100 * NAMES.index(trial) + step) if trial in NAMES else digest(0),
    )


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """A database with an experiment of three planned trials."""
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path / 'orchestrator.db'}")
    await database.upgrade()
    await admit(database, search(name=EXPERIMENT))
    async with database.transaction() as tx:
        rows = [trials.PlannedTrial(name, ("AAPL",), {}, FINGERPRINTS[name], digest(1)) for name in NAMES]
        await trials.plan(tx, EXPERIMENT, rows, Clock().now)
    yield database
    await database.close()


async def test_outcomes_from_another_thread_are_written_in_order(db: Database) -> None:
    recorder = Recorder(db, SUBJECT, Progress(3, "max"), Clock())
    writing = asyncio.create_task(recorder.write())

    def tell() -> None:
        for outcome in (Started(NAMES[:2]), scored("t00001"), FAILED, Started(NAMES[2:]), scored("t00003", None)):
            recorder.tell(outcome)

    await asyncio.to_thread(tell)
    recorder.end()
    await writing
    told = [(event.trial, event.event) for event in await events(db, "trial-events", EXPERIMENT)]
    assert [kind for trial, kind in told if trial == "t00001"] == ["created", "started", "completed"]
    assert [kind for trial, kind in told if trial == "t00002"] == ["created", "started", "failed"]
    assert [trial for trial, kind in told if kind in ("completed", "failed")] == list(NAMES)
    async with db.snapshot() as tx:
        tally = await trials.tally(tx, EXPERIMENT)
        histories = await trials.histories(tx, EXPERIMENT, NAMES)
        rows = await ledger.of_lineages(tx, ("lineage",))
    assert (tally[TrialStatus.COMPLETED], tally[TrialStatus.FAILED]) == (2, 1)
    np.testing.assert_array_equal(histories["t00001"].prediction, scored("t00001").prediction)
    assert [(row.fingerprint, row.sessions, row.span_digest) for row in rows] == [
        (FINGERPRINTS["t00001"], 3, span_digest(np.array([3, 4, 5]))),
        (FINGERPRINTS["t00003"], 3, span_digest(np.array([3, 4, 5]))),
    ]


async def test_nothing_to_record_still_ends_with_progress(db: Database) -> None:
    recorder = Recorder(db, SUBJECT, Progress(3, "max", finished=3), Clock())
    recorder.end()
    await recorder.write()
    assert [event.event for event in await events(db, "experiment-events", EXPERIMENT)][-1] == "progress"


async def test_progress_is_told_twice_a_second_at_most(db: Database) -> None:
    clock = Clock()
    recorder = Recorder(db, SUBJECT, Progress(3, "max"), clock)
    writing = asyncio.create_task(recorder.write())

    async def progress() -> list[int]:
        told = await events(db, "experiment-events", EXPERIMENT)
        return [event.finished for event in told if event.event == "progress"]

    async def settled(trial: str) -> None:
        recorder.tell(scored(trial))
        while True:
            async with db.snapshot() as tx:
                known = {each.trial: each.status for each in await trials.of_experiment(tx, EXPERIMENT)}
            if known[trial] is TrialStatus.COMPLETED:
                return
            await asyncio.sleep(0.01)

    await settled("t00001")
    clock.now += timedelta(seconds=0.1)
    await settled("t00002")
    assert await progress() == [1]
    clock.now += timedelta(seconds=0.5)
    await settled("t00003")
    assert await progress() == [1, 3]
    recorder.end()
    await writing
    assert await progress() == [1, 3, 3]


async def test_predictions_that_are_kept_in_files_are_written_and_forgotten(db: Database, tmp_path: Path) -> None:
    def kept(trial: str, step: int = 1, *, last: bool = True) -> Scored:
        path = tmp_path / f"{trial}.{step}"
        np.array([0.5, np.nan, -0.25], dtype=np.float32).tofile(path)
        return replace(scored(trial, step=step, last=last), prediction=Kept((path,), 3))

    recorder = Recorder(db, SUBJECT, Progress(3, "max"), Clock())
    for outcome in (kept("t00001", last=False), kept("t00001", 2), kept("t00003")):
        recorder.tell(outcome)
    recorder.end()
    await recorder.write()
    async with db.snapshot() as tx:
        histories = await trials.histories(tx, EXPERIMENT, NAMES)
    assert list(histories) == ["t00001", "t00003"]
    for history in histories.values():
        np.testing.assert_array_equal(history.prediction, np.array([0.5, np.nan, -0.25], dtype=np.float32))
        assert history.prediction.dtype == np.float32
    assert list(tmp_path.glob("t0*")) == []


@pytest.mark.parametrize(("most", "written"), [(6, [2, 3]), (3, [1, 2, 3]), (9, [3])])
async def test_large_predictions_are_written_a_few_trials_at_once(
    db: Database, monkeypatch: pytest.MonkeyPatch, most: int, written: list[int]
) -> None:
    monkeypatch.setattr("orchestrator.search.recorder.BATCH_PREDICTIONS", most)
    clock = Clock()

    def later() -> datetime:
        clock.now += timedelta(seconds=1)
        return clock.now

    recorder = Recorder(db, SUBJECT, Progress(3, "max"), later)
    for name in NAMES:
        recorder.tell(scored(name))
    await asyncio.sleep(0)
    writing = asyncio.create_task(recorder.write())
    recorder.end()
    await writing
    told = [event.finished for event in await events(db, "experiment-events", EXPERIMENT) if event.event == "progress"]
    assert list(dict.fromkeys(told)) == written


async def test_an_outcome_that_the_store_refuses_is_raised_and_no_other_is_taken(db: Database) -> None:
    recorder = Recorder(db, SUBJECT, Progress(3, "max"), Clock())
    writing = asyncio.create_task(recorder.write())
    recorder.tell(scored("t00009"))
    with pytest.raises(TrialsNotOpen):
        await writing
    with pytest.raises(RecordingStopped):
        recorder.tell(scored("t00001"))


@given(st.sampled_from(["max", "min"]), st.lists(st.tuples(st.none() | st.floats(-3, 3), st.booleans())))
def test_the_best_is_of_eligible_trials_with_a_score(mode: str, told: list[tuple[float | None, bool]]) -> None:
    progress = Progress(len(told), "max" if mode == "max" else "min")
    for metric, eligible in told:
        progress.scored(metric, eligible)
    known = [metric for metric, eligible in told if eligible and metric is not None]
    assert progress.finished == len(told)
    assert progress.best == (None if not known else max(known) if mode == "max" else min(known))

"""Experiments: moved along their lifecycle only, with the events that say so."""

import asyncio
from typing import TypeVar

import pytest

from orchestrator.core.lifecycle import LINE, IllegalTransition, State, allowed
from orchestrator.store import experiments, outbox
from orchestrator.store.database import Database
from orchestrator.store.errors import UnknownExperiment
from orchestrator.store.requests import Accepted
from schemas.experiments import ExperimentCompleted, ExperimentFailed, ExperimentStarted, GatePassed
from schemas.search import Deploy
from tests.contracts.store.makers import (
    NOW,
    REASON,
    TRACE,
    VERDICT,
    admit,
    digest,
    events,
    everything,
    founded,
    later,
    progress,
    search,
)

_Event = TypeVar("_Event", ExperimentStarted, ExperimentCompleted, ExperimentFailed, GatePassed)


def _event(model: type[_Event], experiment: str, **fields: object) -> _Event:
    head = {"experiment": experiment, "request_id": "request-1", "sequence": 0, "emitted_at": NOW}
    return model.model_validate(head | fields)


async def test_each_step_of_the_line_is_a_change_of_state_with_its_time(db: Database) -> None:
    experiment = await founded(db, deploy=Deploy(auto=True))
    seen = []
    for second, state in enumerate(LINE[1:], 1):
        async with db.transaction() as tx:
            moved = await experiments.advance(tx, experiment, state, None, later(second))
        async with db.snapshot() as tx:
            assert await experiments.get(tx, experiment) == moved
        seen.append((moved.state, moved.updated_at, moved.started_at, moved.finished_at))
    started, finished = later(LINE.index(State.RUNNING)), later(len(LINE) - 1)
    assert seen == [
        (state, later(second), started if started <= later(second) else None, finished if state is LINE[-1] else None)
        for second, state in enumerate(LINE[1:], 1)
    ]


async def test_an_experiment_that_deploys_nothing_has_finished_once_survivors_are_selected(db: Database) -> None:
    experiment = await founded(db, 1, State.SELECTED)
    async with db.transaction() as tx:
        assert (await experiments.get(tx, experiment)).finished_at == NOW
        # An attached request may ask for what the first one did not.
        going_on = await experiments.advance(tx, experiment, State.DEPLOYING, None, later(1))
        assert going_on.finished_at is None


@pytest.mark.parametrize("state", LINE)
async def test_an_illegal_transition_raises_and_writes_nothing(db: Database, state: State) -> None:
    experiment = await founded(db, 1, state)
    before = await everything(db)
    for wanted in set(State) - allowed(state):
        with pytest.raises(IllegalTransition):
            async with db.transaction() as tx:
                await experiments.advance(tx, experiment, wanted, progress(experiment), later(1))
    assert await everything(db) == before


async def test_what_an_event_says_is_kept_with_the_experiment(db: Database) -> None:
    experiment = await founded(db)
    hashes = {"AAPL": digest(3), "MSFT": digest(4)}
    started = _event(ExperimentStarted, experiment, trials=7, data_hash=hashes)
    completed = _event(
        ExperimentCompleted, experiment, finished=6, failed=1, best=1.5, deflated_sharpe=None, seconds=2.5
    )
    passed = _event(GatePassed, experiment, verdict=VERDICT)
    async with db.transaction() as tx:
        await experiments.advance(tx, experiment, State.WAITING, None, NOW)
        await experiments.advance(tx, experiment, State.RUNNING, started, NOW)
        await experiments.note(tx, experiment, progress(experiment, 3), NOW)
        await experiments.advance(tx, experiment, State.SEARCHED, completed, NOW)
        await experiments.advance(tx, experiment, State.SELECTED, None, NOW)
        found = await experiments.note(tx, experiment, passed, later(1))
    assert (found.state, found.updated_at) == (State.SELECTED, later(1))
    assert (found.trials, found.data_hash, found.verdict) == (7, hashes, VERDICT)
    figures = {"finished": 6, "failed": 1, "best": 1.5, "deflated_sharpe": None, "seconds": 2.5, "cached": 0}
    assert found.summary == figures
    said = await events(db, "experiment-events", experiment)
    assert [(event.event, event.sequence) for event in said] == [
        ("accepted", 1),
        ("started", 2),
        ("progress", 3),
        ("completed", 4),
        ("gate_passed", 5),
    ]


async def test_a_failed_experiment_keeps_its_reasons(db: Database) -> None:
    experiment = await founded(db)
    async with db.transaction() as tx:
        end = _event(ExperimentFailed, experiment, reasons=(REASON,))
        failed = await experiments.advance(tx, experiment, State.FAILED, end, later(2))
    assert (failed.state, failed.reasons, failed.finished_at) == (State.FAILED, (REASON,), later(2))


async def test_the_traceparent_of_the_request_goes_with_every_event(db: Database) -> None:
    experiment = await founded(db)
    async with db.transaction() as tx:
        await experiments.note(tx, experiment, progress(experiment), NOW)
        rows = await outbox.pending(tx, 10)
    assert len(rows) == 2
    assert all(("traceparent", TRACE.encode()) in row.headers for row in rows)


async def test_experiments_come_in_the_order_of_their_turn(db: Database) -> None:
    last = await founded(db, 1, now=later(0), priority=-1)
    third = await founded(db, 2, now=later(9))
    second = await founded(db, 3, now=later(8))
    first = await founded(db, 4, State.WAITING, now=later(10), priority=5)
    await founded(db, 5, State.RUNNING)
    async with db.snapshot() as tx:
        found = await experiments.in_states(tx, State.ACCEPTED, State.WAITING)
        assert [experiment.id for experiment in found] == [first, second, third, last]
        assert await experiments.in_states(tx) == []


async def test_an_experiment_that_is_not_there_is_named(db: Database) -> None:
    async with db.transaction() as tx:
        with pytest.raises(UnknownExperiment, match="'nobody'"):
            await experiments.get(tx, "nobody")
        with pytest.raises(UnknownExperiment, match="'nobody'"):
            await experiments.advance(tx, "nobody", State.FAILED, None, NOW)


async def test_of_many_at_once_that_move_one_experiment_one_succeeds(db: Database) -> None:
    experiment = await founded(db)

    async def move() -> None:
        async with db.transaction() as tx:
            await experiments.advance(tx, experiment, State.WAITING, progress(experiment), NOW)

    ended = await asyncio.gather(*(move() for _ in range(10)), return_exceptions=True)
    assert sum(end is None for end in ended) == 1
    assert sum(isinstance(end, IllegalTransition) for end in ended) == 9
    assert len(await events(db, "experiment-events", experiment)) == 2


@pytest.mark.parametrize(("ended", "repeated"), [(State.SEARCHED, True), (State.RUNNING, False)])
async def test_a_search_is_repeated_where_the_same_was_searched_to_the_end(
    db: Database, ended: State, repeated: bool
) -> None:
    first = await founded(db, state=State.RUNNING)
    async with db.transaction() as tx:
        if ended is State.SEARCHED:
            figures = {"finished": 2, "failed": 0, "best": None, "deflated_sharpe": None, "seconds": 1.0}
            await experiments.advance(tx, first, ended, _event(ExperimentCompleted, first, **figures), NOW)
        await experiments.advance(tx, first, State.CANCELLED, None, NOW)
    again = await admit(db, search("again"), digest(1), now=later(1))
    assert isinstance(again, Accepted)
    other = await founded(db, 2, State.WAITING)

    async def told() -> list[bool]:
        async with db.snapshot() as tx:
            return [await experiments.is_repeated(tx, name) for name in (first, other, "nobody", again.experiment)]

    assert await told() == [False] * 4
    async with db.transaction() as tx:
        await experiments.advance(tx, again.experiment, State.WAITING, None, NOW)
    assert await told() == [False, False, False, repeated]
    async with db.transaction() as tx:
        await experiments.advance(tx, again.experiment, State.RUNNING, None, NOW)
    assert await told() == [False] * 4

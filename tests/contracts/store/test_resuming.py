"""Experiments that are broken off and gone on with."""

from datetime import timedelta

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.resuming import EVERYTHING, Resuming
from orchestrator.store import commands, experiments, leases, resuming, trials
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Fenced
from orchestrator.store.requests import Duplicate, NotResumed
from orchestrator.store.tables import TrialStatus
from schemas.base import Reason
from schemas.experiments import GatePassed
from schemas.search import Deploy
from tests.contracts.store.makers import (
    NOW,
    REASON,
    VERDICT,
    admit,
    completed,
    digest,
    events,
    everything,
    founded,
    planned,
    search,
)

LATER = NOW + timedelta(hours=1)


async def broken_off(db: Database) -> str:
    """A cancelled experiment called `mine`: a trial is completed, one failed, one runs, one waits."""
    name = await founded(db, 1, State.RUNNING, name="mine", expires_at=NOW)
    async with db.transaction() as tx:
        await trials.plan(tx, name, planned(4), NOW)
        await trials.start(tx, name, ["t00000", "t00001", "t00002"], NOW)
        await trials.finish(tx, name, [completed("t00000"), trials.Failed("t00001", (REASON,), 0.5)], NOW)
        assert await resuming.cancel(tx, name, NOW) == ()
    return name


async def statuses(db: Database, name: str) -> list[TrialStatus]:
    async with db.snapshot() as tx:
        return [trial.status for trial in await trials.of_experiment(tx, name)]


async def state(db: Database, name: str) -> State:
    async with db.snapshot() as tx:
        return (await experiments.get(tx, name)).state


async def resumed(db: Database, name: str, may: Resuming = EVERYTHING) -> tuple[Reason, ...]:
    async with db.transaction() as tx:
        return await resuming.resume(tx, name, may, LATER)


async def test_cancelling_ends_an_experiment_once_and_keeps_what_has_ended(db: Database) -> None:
    name = await broken_off(db)
    before = await everything(db)
    async with db.transaction() as tx:
        (again,) = await resuming.cancel(tx, name, LATER)
        (unknown,) = await resuming.cancel(tx, "nobody", LATER)
    assert (again.code, unknown.code) == ("not_cancellable", "unknown_experiment")
    assert await everything(db) == before
    assert await state(db, name) is State.CANCELLED
    assert [event.event for event in await events(db, "experiment-events", name)][-1] == "cancelled"


async def test_what_the_gate_has_judged_is_over_and_is_not_cancelled(db: Database) -> None:
    name = await founded(db, 1, State.SELECTED)
    event = GatePassed(experiment=name, request_id="request-1", sequence=0, emitted_at=NOW, verdict=VERDICT)
    async with db.transaction() as tx:
        await experiments.note(tx, name, event, NOW)
    before = await everything(db)
    async with db.transaction() as tx:
        (reason,) = await resuming.cancel(tx, name, LATER)
    assert reason.code == "not_cancellable"
    assert await everything(db) == before


async def test_a_driver_that_was_not_ended_yet_when_its_experiment_was_resumed_writes_nothing(db: Database) -> None:
    name = await founded(db, 1, State.RUNNING, name="mine")
    async with db.transaction() as tx:
        lease = await leases.acquire(tx, leases.driver_of(name), "its driver", timedelta(minutes=1))
    assert lease is not None
    async with db.transaction() as tx:
        assert await resuming.cancel(tx, name, NOW) == ()
        assert await resuming.resume(tx, name, EVERYTHING, NOW) == ()
    with pytest.raises(LeaseLost):
        async with Fenced(db, lease).transaction():
            pass
    async with db.transaction() as tx:
        again = await leases.acquire(tx, lease.name, "another", timedelta(minutes=1))
    assert again is not None
    assert again.epoch == lease.epoch + 1


async def test_resuming_keeps_what_is_completed_and_runs_what_failed_again(db: Database) -> None:
    name = await broken_off(db)
    assert await resumed(db, name) == ()
    async with db.snapshot() as tx:
        found = await experiments.get(tx, name)
    assert (found.state, found.expires_at, found.position, found.reasons) == (State.ACCEPTED, None, None, ())
    kept, again, running, created = await statuses(db, name)
    assert kept is TrialStatus.COMPLETED
    assert (again, running, created) == (TrialStatus.CREATED, TrialStatus.RUNNING, TrialStatus.CREATED)
    async with db.transaction() as tx:
        await trials.start(tx, name, ["t00001"], LATER)
        await trials.finish(tx, name, [completed("t00001")], LATER)


async def test_what_failed_stays_so_where_only_what_is_unfinished_is_gone_on_with(db: Database) -> None:
    name = await broken_off(db)
    assert await resumed(db, name, Resuming(errored=False)) == ()
    assert (await statuses(db, name))[1] is TrialStatus.FAILED


async def test_what_cannot_be_resumed_is_told_and_nothing_is_written(db: Database) -> None:
    running = await founded(db, 2, State.RUNNING)
    over = await founded(db, 3, State.SELECTED)
    name = await broken_off(db)
    before = await everything(db)
    said = {
        each: [reason.code for reason in await resumed(db, each, may)]
        for each, may in {running: EVERYTHING, over: EVERYTHING, "no": EVERYTHING, name: Resuming(False)}.items()
    }
    assert said == {
        running: ["under_way"],
        over: ["nothing_to_resume"],
        "no": ["unknown_experiment"],
        name: ["resuming_is_off"],
    }
    assert await everything(db) == before


async def test_what_another_does_by_now_is_not_resumed(db: Database) -> None:
    name = await broken_off(db)
    other = await admit(db, search("another"), digest(1))
    (reason,) = await resumed(db, name)
    assert reason.code == "same_work_under_way"
    assert str(other.experiment) in reason.message


async def test_a_request_goes_on_with_the_experiment_of_its_name(db: Database) -> None:
    name = await broken_off(db)
    again = search("again", name="mine", resume=True, deploy=Deploy(auto=True, ensemble_name="bot"))
    assert await admit(db, again, digest(1), now=LATER) == Duplicate(name)
    assert await state(db, name) is State.ACCEPTED
    last = (await events(db, "experiment-events", name))[-1]
    assert (last.event, last.request_id) == ("duplicate", "again")
    # Under way now, it is attached to.
    assert await admit(db, search("third", name="mine", resume=True), digest(1)) == Duplicate(name)


@pytest.mark.parametrize(
    ("name", "key", "code"),
    [
        (None, 1, "resume_without_name"),
        ("nobody", 1, "unknown_experiment"),
        ("mine", 2, "resume_changed"),
        ("over", 3, "nothing_to_resume"),
    ],
)
async def test_a_request_that_cannot_be_resumed_is_rejected(
    db: Database, name: str | None, key: int, code: str
) -> None:
    await broken_off(db)
    await founded(db, 3, State.SELECTED, name="over")
    refused = await admit(db, search("again", name=name, resume=True), digest(key))
    assert isinstance(refused, NotResumed)
    assert [reason.code for reason in refused.reasons] == [code]
    (told,) = await events(db, "experiment-events", "again")
    assert told.event == "rejected"


async def test_a_command_is_claimed_once_and_its_refusal_kept(db: Database) -> None:
    async with db.transaction() as tx:
        assert await commands.claim(tx, "one", b"{}", NOW) is None
        assert await commands.claim(tx, "two", b"{}", NOW) is None
        await commands.refuse(tx, "two", (REASON,))
    async with db.transaction() as tx:
        assert await commands.claim(tx, "one", b"{}", LATER) == ()
        assert await commands.claim(tx, "two", b"{}", LATER) == (REASON,)

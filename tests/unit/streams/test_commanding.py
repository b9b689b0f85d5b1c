"""Commands on a real store: carried out once, or buried with reasons."""

import json
from typing import Any

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.resuming import EVERYTHING
from orchestrator.store import experiments
from orchestrator.store.database import Database
from schemas.dead_letter import read_dead_letter
from schemas.topics import COMMANDS
from streams.commanding import Commands
from streams.publisher import NotDelivered
from streams.source import Record
from tests.contracts.store.makers import events, everything, founded
from tests.unit.streams.fakes import Clock, FakePublisher


class Desk:
    """An agent of commands on a store, and what it speaks to."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.publisher = FakePublisher()
        self.changes = 0
        self.commands = Commands(
            database=db, publisher=self.publisher, clock=Clock(), may_resume=EVERYTHING, on_change=self._change
        )

    def _change(self) -> None:
        self.changes += 1

    async def take(self, *values: bytes) -> None:
        await self.commands.take([Record(COMMANDS.name, 0, number, None, value) for number, value in enumerate(values)])

    async def state(self, experiment: str) -> State:
        async with self.db.snapshot() as tx:
            return (await experiments.get(tx, experiment)).state

    @property
    def buried(self) -> list[list[str]]:
        return [[reason.code for reason in read_dead_letter(each.headers).reasons] for each in self.publisher.published]


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


def command(kind: str, command_id: str = "one", **fields: Any) -> bytes:
    base = {"command": kind, "command_id": command_id, "issued_at": "2026-01-15T21:00:00Z"}
    return json.dumps(base | fields).encode()


async def test_cancel_and_resume_are_carried_out_in_order(desk: Desk) -> None:
    name = await founded(desk.db, 1, State.RUNNING)
    await desk.take(command("cancel", experiment=name))
    assert await desk.state(name) is State.CANCELLED
    await desk.take(command("resume", "two", experiment=name))
    assert await desk.state(name) is State.ACCEPTED
    assert (desk.changes, desk.buried) == (2, [])


async def test_a_redelivered_command_changes_nothing(desk: Desk) -> None:
    name = await founded(desk.db, 1, State.RUNNING)
    cancel = command("cancel", experiment=name)
    await desk.take(cancel, command("resume", "two", experiment=name))
    before = await everything(desk.db)
    await desk.take(cancel)
    assert await everything(desk.db) == before
    assert await desk.state(name) is State.ACCEPTED


async def test_what_cannot_be_carried_out_is_buried_with_its_reasons_and_the_next_is_taken(desk: Desk) -> None:
    name = await founded(desk.db, 1, State.RUNNING)
    await desk.take(
        b"no command",
        command("cancel", "two", experiment="nobody"),
        command("roll_back", "three", ensemble="bot"),
        command("cancel", "four", experiment=name),
    )
    assert desk.buried[1:] == [["unknown_experiment"], ["not_supported"]]
    assert len(desk.buried) == 3
    assert await desk.state(name) is State.CANCELLED
    assert [event.event for event in await events(desk.db, "experiment-events", name)] == ["accepted", "cancelled"]


async def test_a_letter_that_was_not_delivered_is_buried_when_the_batch_comes_again(desk: Desk) -> None:
    refused = command("cancel", experiment="nobody")
    desk.publisher.refused = {1}
    with pytest.raises(NotDelivered):
        await desk.take(refused)
    await desk.take(refused)
    assert desk.buried == [["unknown_experiment"]]

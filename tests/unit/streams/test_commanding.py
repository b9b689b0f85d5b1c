"""Commands on a real store: carried out once, or buried with reasons."""

import json
from typing import Any

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.resuming import EVERYTHING
from orchestrator.store import challengers, ensembles, experiments, retraining, wishes
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway
from schemas.base import Reason
from schemas.dead_letter import read_dead_letter
from schemas.experiments import GatePassed
from schemas.search import Deploy
from schemas.topics import COMMANDS
from streams.commanding import Commands
from streams.dead_letters import dead_letter
from streams.publisher import NotDelivered, Outgoing
from streams.resending import Resending
from streams.source import Record
from tests.contracts.store.makers import NOW, VERDICT, events, everything, founded, proposal
from tests.unit.streams.fakes import Clock, FakePublisher
from tests.unit.streams.test_judging import JUDGE


class Desk:
    """An agent of commands on a store, and what it speaks to."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.publisher = FakePublisher()
        self.changes = 0
        self.letters: dict[tuple[str, int, int], Record] = {}
        self.commands = Commands(
            database=db,
            publisher=self.publisher,
            clock=Clock(),
            may_resume=EVERYTHING,
            resending=Resending(lambda *place: self.letters.get(place), self.publisher),
            judge=JUDGE,
            override="paper",
            on_change=self._change,
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
        letters = self.publisher.on(COMMANDS.dead_letters)
        return [[reason.code for reason in read_dead_letter(each.headers).reasons] for each in letters]

    def bury(self, number: int, *, topic: str = "feature-ticks") -> None:
        """Have a dead letter of a tick at that offset of `feature-ticks.dlq`; it says that it came from `topic`."""
        original = Record(topic, 3, 40 + number, b"AAPL", b"no tick \xff", (("ce_id", b"t-1"), ("empty", None)))
        letter = dead_letter(original, [Reason(code="not_utf8", message="it is not UTF-8")], NOW)
        place = ("feature-ticks.dlq", 0, number)
        self.letters[place] = Record(*place, letter.key, letter.value, tuple(letter.headers))


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
        command("retrain", "three", ensemble="bot"),
        command("cancel", "four", experiment=name),
    )
    assert desk.buried[1:] == [["unknown_experiment"], ["no_policy"]]
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


def resend(command_id: str = "one", topic: str = "feature-ticks.dlq", offset: int = 7) -> bytes:
    return command("resend_dead_letter", command_id, topic=topic, partition=0, offset=offset)


async def test_a_dead_letter_goes_to_where_it_came_from_as_it_was(desk: Desk) -> None:
    desk.bury(7)
    await desk.take(resend())
    [sent] = desk.publisher.published
    assert sent == Outgoing("feature-ticks", b"AAPL", b"no tick \xff", (("ce_id", b"t-1"), ("empty", None)))


async def test_a_command_sends_a_letter_once_and_another_command_sends_it_again(desk: Desk) -> None:
    desk.bury(7)
    await desk.take(resend(), resend())
    await desk.take(resend())
    assert len(desk.publisher.published) == 1
    await desk.take(resend("two"))
    assert len(desk.publisher.published) == 2


async def test_a_letter_that_is_not_acknowledged_is_sent_when_the_command_comes_again(desk: Desk) -> None:
    desk.bury(7)
    desk.publisher.refused = {1}
    with pytest.raises(NotDelivered):
        await desk.take(resend())
    assert (await everything(desk.db))["commands"] == []
    await desk.take(resend())
    assert [each.topic for each in desk.publisher.published] == ["feature-ticks"]


async def test_a_letter_is_sent_again_where_that_was_not_written_down(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: whoever reads the topic knows the message by its id."""
    desk.bury(7)
    with monkeypatch.context() as patched:
        patched.setattr(desk.db, "commit", away)
        with pytest.raises(DatabaseAway):
            await desk.take(resend())
    await desk.take(resend())
    assert [each.topic for each in desk.publisher.published] == ["feature-ticks"] * 2


async def away(work: object) -> None:
    raise DatabaseAway("the store", "no answer")


async def test_what_is_no_dead_letter_is_not_sent(desk: Desk) -> None:
    desk.bury(7)
    desk.bury(8, topic="signals")
    place = ("feature-ticks.dlq", 0, 9)
    desk.letters[place] = Record(*place, b"AAPL", b"{}")
    refused = [
        resend("one", offset=6),
        resend("two", topic="feature-ticks"),
        resend("three", topic="../etc/passwd"),
        resend("four", offset=8),
        resend("five", offset=9),
    ]
    await desk.take(*refused)
    codes = ["no_such_letter", "not_a_dead_letter_topic", "not_a_dead_letter_topic", *["not_a_dead_letter"] * 2]
    assert [code for [code] in desk.buried] == codes
    assert len(desk.publisher.published) == len(refused)
    desk.bury(6)
    await desk.take(refused[0])
    assert desk.buried[-1] == ["no_such_letter"]


async def judged(desk: Desk, number: int = 1) -> str:
    """An experiment whose search is over."""
    name = await founded(desk.db, number, State.SELECTED)
    event = GatePassed(experiment=name, request_id="request-1", sequence=0, emitted_at=NOW, verdict=VERDICT)
    async with desk.db.transaction() as tx:
        await experiments.note(tx, name, event, NOW)
    return name


async def deployed(desk: Desk, number: int, **fields: Any) -> None:
    """The next version of `bot`, served."""
    name = await founded(desk.db, number, State.SELECTED)
    async with desk.db.transaction() as tx:
        version = await ensembles.propose(tx, proposal(name, **fields), NOW)
        await ensembles.mark_deployed(tx, "bot", version, NOW)


async def wanted(desk: Desk) -> list[int]:
    async with desk.db.snapshot() as tx:
        return [version.version for version in await ensembles.wanted(tx)]


async def test_what_a_command_deploys_is_wished_for_as_it_says_once_and_a_driver_is_called_for(desk: Desk) -> None:
    name = await judged(desk)
    deploy = command("deploy", ensemble="bot", experiment=name, top_n=2, voting="hard", threshold=0.6, gate=False)
    await desk.take(deploy, deploy)
    async with desk.db.snapshot() as tx:
        (wish,) = await wishes.of_experiment(tx, name)
    assert wish.command_id == "one"
    assert wish.deploy == Deploy(
        auto=True, ensemble_name="bot", top_n=2, voting="hard", threshold=0.6, mode="live", gate=False
    )
    assert (desk.changes, desk.buried) == (2, [])


async def test_what_cannot_be_deployed_is_buried_with_the_reason(desk: Desk) -> None:
    running = await founded(desk.db, 1, State.RUNNING)
    done = await judged(desk, 2)
    await desk.take(
        command("deploy", "a", ensemble="bot", experiment=running),
        command("deploy", "b", ensemble="bot", experiment="nobody"),
        command("deploy", "c", ensemble="bot"),
        command("deploy", "d", ensemble="bot", models=["0" * 64]),
        command("deploy", "e", ensemble="bot", experiment=done, models=["0" * 64]),
        command("add_member", "f", ensemble="bot", model="0" * 64),
    )
    codes = ["not_searched", "unknown_experiment", "nothing_to_deploy"]
    codes += ["no_verdict", "experiment_and_models", "unknown_model"]
    assert desk.buried == [[code] for code in codes]
    assert desk.changes == 0


async def test_an_ensemble_is_rolled_back_and_deleted_in_order_and_a_redelivery_changes_nothing(desk: Desk) -> None:
    for number in (1, 2):
        await deployed(desk, number)
    back, gone = command("roll_back", ensemble="bot"), command("delete", "two", ensemble="bot")
    await desk.take(back)
    assert await wanted(desk) == [1]
    await desk.take(gone, back, gone)
    assert await wanted(desk) == []
    told = [(event.event, event.version) for event in await events(desk.db, "ensemble-events", "bot")]
    assert told[4:] == [("deploying", 1), ("failed", 1), ("deleted", 2)]
    assert desk.buried == []
    again = command("roll_back", "three", ensemble="bot", version=2)
    await desk.take(command("roll_back", "four", ensemble="bot"), again)
    assert desk.buried == [["nothing_serves"]]
    assert await wanted(desk) == [2]


async def on_trial(desk: Desk) -> None:
    """Version 1 of `bot` is live, and version 2 its challenger."""
    await deployed(desk, 1, mode="live")
    name = await founded(desk.db, 2, State.SELECTED)
    async with desk.db.transaction() as tx:
        version = await ensembles.propose(tx, proposal(name, mode="shadow"), NOW)
        await challengers.mark_shadowing(tx, "bot", version, NOW)


async def test_a_challenger_is_heard_promoted_and_taken_back_each_once(desk: Desk) -> None:
    await on_trial(desk)
    why = {"code": "better", "message": "it earned more in 20 sessions", "where": ""}
    canary = command("promote", "one", ensemble="bot", version=2, tickers=["AAPL"], reasons=[why])
    whole = command("promote", "two", ensemble="bot", version=2)
    await desk.take(canary, whole, canary, command("retire", "three", ensemble="bot", version=2))
    assert desk.buried == [["not_shadowing"]]
    told = [(event.event, event.command_id) for event in await events(desk.db, "retraining-events", "bot")]
    assert told == [("shadowing", None), ("canary", "one"), ("promoted", "two")]
    async with desk.db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", 2, NOW)
    await desk.take(command("roll_back", "four", ensemble="bot", reasons=[why]))
    async with desk.db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", 1, NOW)
    taken_back = (await events(desk.db, "ensemble-events", "bot"))[-2]
    assert (taken_back.event, [reason.code for reason in taken_back.reasons]) == ("rolled_back", ["better"])


async def test_a_challenger_is_retired(desk: Desk) -> None:
    await on_trial(desk)
    await desk.take(command("retire", ensemble="bot", version=2), command("retire", "two", ensemble="bot", version=2))
    assert desk.buried == [["not_shadowing"]]
    assert (await events(desk.db, "retraining-events", "bot"))[-1].event == "retired"


async def test_an_ensemble_has_the_policy_that_was_set_last_until_it_is_removed(desk: Desk) -> None:
    await deployed(desk, 1, manifest={"calendar": "24/7"})
    unknown = {"promotion": {"canary": ["IBM"]}}
    await desk.take(
        command("set_policy", "zero", ensemble="bot", policy=unknown),
        command("set_policy", "one", ensemble="bot", policy={"max_age_days": 30.0}),
        command("set_policy", "two", ensemble="bot", policy={"max_age_days": 60.0}),
        command("set_policy", "three", ensemble="nobody", policy={}),
        command("remove_policy", "four", ensemble="nobody"),
    )
    assert desk.buried[1:] == [["unknown_ensemble"], ["unknown_policy"]]
    assert len(desk.buried) == 3
    async with desk.db.snapshot() as tx:
        found = await retraining.policy_of(tx, "bot")
    assert found is not None
    assert (found.policy.max_age_days, found.command_id) == (60.0, "two")
    await desk.take(command("remove_policy", "five", ensemble="bot"))
    async with desk.db.snapshot() as tx:
        assert await retraining.standing(tx) == {}

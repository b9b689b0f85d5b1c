"""The outbox on a real store, carried to a publisher that can fail."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from orchestrator.store import outbox, trials
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from schemas.envelope import read_headers
from streams import leading, relay
from streams.leading import Leadership
from streams.metrics import TRIALS
from streams.publisher import NotDelivered, Outgoing
from streams.relay import OutboxRelay
from tests.contracts.store.makers import NOW, TRACE, completed, events, founded, planned, run_out
from tests.unit.streams.fakes import FakePublisher


def carrying(
    leadership: Leadership, publisher: FakePublisher, clock: Callable[[], datetime] = lambda: NOW
) -> OutboxRelay:
    def fail(error: BaseException) -> None:
        raise error

    return OutboxRelay(leadership, publisher, clock, fail)


async def waiting(db: Database) -> int:
    async with db.snapshot() as tx:
        count, _ = await outbox.backlog(tx)
    return count


@pytest.fixture
async def experiments(db: Database) -> list[str]:
    """Two experiments and what has happened to them: five events."""
    ids = [await founded(db, number) for number in (1, 2)]
    async with db.transaction() as tx:
        await trials.plan(tx, ids[0], planned(2), NOW)
    async with db.transaction() as tx:
        await trials.finish(tx, ids[0], [completed("t00000")], NOW)
    return ids


async def test_what_is_pending_is_published_in_order_with_its_headers_and_then_marked(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    publisher = FakePublisher()
    async with db.snapshot() as tx:
        pending = await outbox.pending(tx, 100)
    assert await carrying(leadership, publisher).carry_batch() == len(pending) == 5
    assert publisher.published == [
        Outgoing(row.topic, row.key.encode(), row.value, tuple(row.headers)) for row in pending
    ]
    assert {str(read_headers(each.headers).trace) for each in publisher.published} == {TRACE}
    assert await waiting(db) == 0
    assert await carrying(leadership, publisher).carry_batch() == 0
    assert len(publisher.batches) == 1


async def test_a_batch_has_a_limit_and_the_rest_follows_in_order(
    db: Database, leadership: Leadership, experiments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    publisher = FakePublisher()
    expected = [each.sequence for each in await events(db, "trial-events")]
    assert [await carrying(leadership, publisher).carry_batch() for _ in range(4)] == [2, 2, 1, 0]
    assert expected == [1, 2, 3]
    assert [each.topic for each in publisher.published] == ["experiment-events"] * 2 + ["trial-events"] * 3


async def test_a_failed_publish_leaves_everything_pending_and_the_same_is_sent_again(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    publisher = FakePublisher()
    publisher.refused = {1}
    with pytest.raises(NotDelivered):
        await carrying(leadership, publisher).carry_batch()
    assert await waiting(db) == 5
    await carrying(leadership, publisher).carry_batch()
    assert await waiting(db) == 0


async def test_nothing_is_marked_before_the_broker_has_acknowledged(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    class Asking(FakePublisher):
        async def publish(self, records: Sequence[Outgoing]) -> None:
            assert await waiting(db) == 5
            await super().publish(records)

    publisher = Asking()
    await carrying(leadership, publisher).carry_batch()
    assert len(publisher.published) == 5


async def test_it_goes_on_by_itself_past_a_broker_that_does_not_answer(
    db: Database, leadership: Leadership, experiments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PAUSE_AFTER_FAILURE_SECONDS", 0)
    arrived = asyncio.Event()

    class Telling(FakePublisher):
        async def publish(self, records: Sequence[Outgoing]) -> None:
            await super().publish(records)
            arrived.set()

    publisher = Telling()
    publisher.refused = {1, 2}
    service = carrying(leadership, publisher)
    await service.start()
    await arrived.wait()
    await service.stop()
    assert len(publisher.published) == 5
    assert await waiting(db) == 0


async def test_stopping_publishes_what_is_pending(
    db: Database, leadership: Leadership, experiments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    publisher = FakePublisher()
    service = carrying(leadership, publisher)
    await service.on_stop()
    assert len(publisher.published) == 5
    assert await waiting(db) == 0


async def test_stopping_while_the_broker_does_not_answer_leaves_it_in_the_outbox(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    publisher = FakePublisher()
    publisher.refused = {1}
    await carrying(leadership, publisher).on_stop()
    assert await waiting(db) == 5


async def test_trials_are_counted_when_their_end_is_told(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    def counted() -> float:
        found: float = TRIALS.labels("completed")._value.get()
        return found

    before = counted()
    await carrying(leadership, FakePublisher()).carry_batch()
    assert counted() == before + 1


async def test_of_two_workers_one_publishes_and_the_other_takes_over_when_it_stops(
    db: Database, experiments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(leading, "STAND_BY_SECONDS", 0)
    publishers = FakePublisher(), FakePublisher()
    first, second = (
        carrying(Leadership(db, "relay", str(number), timedelta(minutes=1)), publisher)
        for number, publisher in enumerate(publishers)
    )
    await first.turn()
    await founded(db, 3)
    await second.turn()
    assert [len(publisher.published) for publisher in publishers] == [5, 0]
    await first.stop()
    await founded(db, 4)
    await second.turn()
    assert [len(publisher.published) for publisher in publishers] == [6, 1]
    await second.stop()


async def test_a_worker_that_stood_still_for_too_long_publishes_nothing_when_it_goes_on(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    term = leadership._term
    assert term is not None
    term._until -= timedelta(minutes=2).total_seconds()
    publisher = FakePublisher()
    with pytest.raises(LeaseLost):
        await carrying(leadership, publisher).carry_batch()
    assert publisher.published == []
    assert await waiting(db) == 5


async def test_what_a_worker_publishes_that_no_longer_leads_is_not_marked(
    db: Database, leadership: Leadership, experiments: list[str]
) -> None:
    class Slow(FakePublisher):
        async def publish(self, records: Sequence[Outgoing]) -> None:
            await super().publish(records)
            await run_out(db, "it")
            assert await other.leads()

    other = Leadership(db, "it", "another worker", timedelta(minutes=1))
    service = carrying(leadership, Slow())
    await service.turn()
    assert await waiting(db) == 5
    await service.turn()
    assert await waiting(db) == 5
    assert await carrying(other, FakePublisher()).carry_batch() == 5
    await other.resign()

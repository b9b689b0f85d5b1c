"""The outbox: sequences without gaps, and the order of publishing."""

import asyncio
from itertools import pairwise

import pytest

from orchestrator.store import outbox
from orchestrator.store.database import Database
from orchestrator.store.sequences import take_sequences
from schemas.envelope import decode, encode, headers_of
from schemas.experiments import ExperimentProgress
from schemas.topics import EXPERIMENT_EVENTS, TRIAL_EVENTS
from tests.contracts.store.makers import NOW, TRACE, everything, later, progress


async def _append(db: Database, key: str, count: int = 1, fail: bool = False) -> None:
    async with db.transaction() as tx:
        await outbox.append_all(tx, EXPERIMENT_EVENTS, key, [progress(key, n) for n in range(count)], NOW)
        if fail:
            raise LookupError


async def test_an_event_is_kept_as_it_goes_to_kafka(db: Database) -> None:
    async with db.transaction() as tx:
        event = await outbox.append(tx, EXPERIMENT_EVENTS, "e", progress("e"), NOW, TRACE)
    async with db.snapshot() as tx:
        (row,) = await outbox.pending(tx, 10)
    assert event == progress("e").model_copy(update={"sequence": 1})
    assert (row.message_id, row.topic, row.key) == ("experiment-events:e:1", "experiment-events", "e")
    assert (row.value, row.created_at) == (encode(event), NOW)
    assert decode(ExperimentProgress, row.value) == event
    assert row.headers == headers_of(
        event, message_id="experiment-events:e:1", source=outbox.SOURCE, time=NOW, traceparent=TRACE
    )


async def test_each_topic_and_key_has_its_own_sequence(db: Database) -> None:
    async with db.transaction() as tx:
        taken = [
            (await outbox.append(tx, topic, key, progress("e"), NOW)).sequence
            for topic, key in [
                (EXPERIMENT_EVENTS, "a"),
                (EXPERIMENT_EVENTS, "a"),
                (EXPERIMENT_EVENTS, "b"),
                (TRIAL_EVENTS, "a"),
            ]
        ]
    assert taken == [1, 2, 1, 1]


async def test_a_batch_takes_a_block_of_sequences_in_its_order(db: Database) -> None:
    await _append(db, "a", 2)
    async with db.transaction() as tx:
        written = await outbox.append_all(tx, EXPERIMENT_EVENTS, "a", [progress("a", n) for n in range(3)], NOW)
        assert await outbox.append_all(tx, EXPERIMENT_EVENTS, "a", [], NOW) == ()
    assert [(event.sequence, event.finished) for event in written] == [(3, 0), (4, 1), (5, 2)]


async def test_sequences_have_no_gaps_under_concurrent_writers_of_whom_some_fail(db: Database) -> None:
    attempts = [_append(db, key, count, fail=fail) for key in "ab" for count in (1, 3, 2) for fail in (False, True)]
    ended = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(end, LookupError) for end in ended) == 6

    async with db.snapshot() as tx:
        rows = await outbox.pending(tx, 1000)
    for key in "ab":
        assert [row.message_id for row in rows if row.key == key] == [
            f"experiment-events:{key}:{n}" for n in range(1, 7)
        ]


async def test_numbers_that_were_rolled_back_are_free_again(db: Database) -> None:
    with pytest.raises(LookupError):
        await _append(db, "a", 5, fail=True)
    async with db.transaction() as tx:
        assert await take_sequences(tx, EXPERIMENT_EVENTS.name, "a", 4) == 1
        assert await take_sequences(tx, EXPERIMENT_EVENTS.name, "a") == 5


async def test_an_event_whose_transaction_took_longer_than_a_later_one_s_is_pending_in_its_turn(
    db: Database, kind: str
) -> None:
    if kind == "sqlite":
        return  # Its writers come one after the other.
    async with db.transaction() as slow:
        await outbox.append(slow, EXPERIMENT_EVENTS, "slow", progress("slow"), NOW)
        await _append(db, "quick")
        async with db.snapshot() as tx:
            early = await outbox.pending(tx, 10)
        async with db.transaction() as tx:
            await outbox.mark_published(tx, [row.id for row in early], NOW)
    async with db.snapshot() as tx:
        late = await outbox.pending(tx, 10)
    assert [row.key for row in early] == ["quick"]
    assert [row.key for row in late] == ["slow"]
    assert late[0].id < early[0].id


async def test_pending_gives_the_oldest_first_and_what_was_published_no_more(db: Database) -> None:
    for key in "abab":
        await _append(db, key)
    async with db.snapshot() as tx:
        rows = await outbox.pending(tx, 3)
    assert [row.key for row in rows] == ["a", "b", "a"]
    assert all(first.id < second.id for first, second in pairwise(rows))

    async with db.transaction() as tx:
        await outbox.mark_published(tx, [row.id for row in rows], later(1))
        assert [row.message_id for row in await outbox.pending(tx, 10)] == ["experiment-events:b:2"]


async def test_the_backlog_counts_what_waits_and_since_when(db: Database) -> None:
    async with db.transaction() as tx:
        assert await outbox.backlog(tx) == (0, None)
        for seconds in (5, 2, 9):
            await outbox.append(tx, EXPERIMENT_EVENTS, "a", progress("a"), later(seconds))
        assert await outbox.backlog(tx) == (3, later(2))
        first, second, _ = await outbox.pending(tx, 10)
        await outbox.mark_published(tx, [first.id, second.id], later(10))
        assert await outbox.backlog(tx) == (1, later(9))


async def test_pruning_deletes_only_what_was_published_before(db: Database) -> None:
    await _append(db, "a", 3)
    async with db.transaction() as tx:
        first, second, third = await outbox.pending(tx, 10)
        await outbox.mark_published(tx, [first.id], later(1))
        await outbox.mark_published(tx, [second.id], later(2))
        assert await outbox.prune(tx, later(2), 10) == 1
        assert await outbox.prune(tx, later(2), 10) == 0
        assert await outbox.prune(tx, later(3), 10) == 1
        assert await outbox.pending(tx, 10) == [third]
    await _append(db, "a")
    assert len((await everything(db))["outbox"]) == 2

import asyncio
from collections.abc import Sequence

import pytest

from streams.delivery import AtLeastOnce
from streams.publisher import NotDelivered, Outgoing


def outgoing(name: str) -> Outgoing:
    return Outgoing("topic", name.encode(), b"", ())


class Broker:
    """Acknowledges one publication each time it is let; a failure is raised in the place of the next."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.failures: list[Exception] = []
        self._let = asyncio.Semaphore(0)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        await self._let.acquire()
        if self.failures:
            raise self.failures.pop()
        self.taken.append([(record.key or b"").decode() for record in records])

    async def let(self, times: int = 1) -> None:
        for _ in range(times):
            self._let.release()
            await asyncio.sleep(0.01)


async def sent(delivery: AtLeastOnce, name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(delivery.send([outgoing(f"signal {name}")], [outgoing(f"state {name}")]))
    await asyncio.sleep(0)
    return task


async def test_states_go_with_the_signals_of_the_batches_after_theirs() -> None:
    broker = Broker()
    delivery = AtLeastOnce(broker)
    tasks = [await sent(delivery, name) for name in "abc"]
    await broker.let(3)
    assert broker.taken == [["signal a"], ["signal b", "signal c", "state a"], ["state b", "state c"]]
    await asyncio.gather(*tasks)


async def test_a_batch_is_finished_when_its_states_are_with_the_broker() -> None:
    broker = Broker()
    delivery = AtLeastOnce(broker)
    await sent(delivery, "a")
    finished = asyncio.create_task(delivery.finish([]))
    await broker.let()
    assert not finished.done()
    await broker.let()
    assert finished.done()
    assert broker.taken == [["signal a"], ["state a"]]


async def test_who_waits_no_longer_for_the_end_of_a_batch_leaves_what_is_on_its_way_alone() -> None:
    broker = Broker()
    delivery = AtLeastOnce(broker)
    sending = await sent(delivery, "a")
    waiting = [asyncio.create_task(delivery.finish([])) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await broker.let(2)
    await asyncio.gather(sending, waiting[1])
    assert broker.taken == [["signal a"], ["state a"]]


async def test_what_the_broker_did_not_take_is_sent_again_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.delivery.RETRY_SECONDS", 0.0)
    broker = Broker()
    broker.failures = [NotDelivered(["topic"], 1, "away")]
    delivery = AtLeastOnce(broker)
    tasks = [await sent(delivery, name) for name in "ab"]
    await broker.let(4)
    assert broker.taken == [["signal a"], ["signal b", "state a"], ["state b"]]
    await asyncio.gather(*tasks)


async def test_what_goes_wrong_with_one_part_loses_no_other() -> None:
    broker = Broker()
    delivery = AtLeastOnce(broker)
    first, second, third = [await sent(delivery, name) for name in "abc"]
    await broker.let()
    broker.failures = [RuntimeError("broken")]
    await broker.let(4)
    assert sorted(name for each in broker.taken for name in each) == [
        "signal a",
        "signal c",
        "state a",
        "state c",
    ]
    assert isinstance(second.exception(), RuntimeError)
    await asyncio.gather(first, third)

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
        self.values: list[list[bytes | None]] = []
        self.failures: list[Exception] = []
        self._let = asyncio.Semaphore(0)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        await self._let.acquire()
        if self.failures:
            raise self.failures.pop()
        self.taken.append([(record.key or b"").decode() for record in records])
        self.values.append([record.value for record in records])

    async def let(self, times: int = 1) -> None:
        for _ in range(times):
            self._let.release()
            await asyncio.sleep(0.01)


class Line:
    """A delivery, and a broker for each of what it brings there."""

    def __init__(self) -> None:
        self.signals, self.states = Broker(), Broker()
        self.delivery = AtLeastOnce(self.signals, self.states)

    async def sent(self, name: str, place: str | None = None) -> asyncio.Task[None]:
        state = outgoing(place or f"state {name}")._replace(value=name.encode())
        task = asyncio.create_task(self.delivery.send([outgoing(f"signal {name}")], [state]))
        await asyncio.sleep(0)
        return task


async def test_signals_wait_for_those_before_them_and_not_for_states() -> None:
    line = Line()
    tasks = [await line.sent(name) for name in "abc"]
    await line.signals.let(2)
    assert line.signals.taken == [["signal a"], ["signal b", "signal c"]]
    assert line.states.taken == []
    await line.states.let(2)
    assert line.states.taken == [["state a"], ["state b", "state c"]]
    await asyncio.gather(*tasks)


async def test_states_wait_for_the_signals_of_their_batch() -> None:
    line = Line()
    await line.states.let(1)
    task = await line.sent("a")
    await asyncio.sleep(0.01)
    assert line.states.taken == []
    await line.signals.let()
    assert line.states.taken == [["state a"]]
    await task


async def test_of_the_states_of_a_place_that_wait_only_the_newest_goes() -> None:
    line = Line()
    tasks = [await line.sent(name, "here") for name in "abc"] + [await line.sent("d", "there")]
    await line.signals.let(2)
    await line.states.let(2)
    assert line.states.values == [[b"a"], [b"c", b"d"]]
    await asyncio.gather(*tasks)


async def test_a_batch_is_finished_when_its_states_are_with_the_broker() -> None:
    line = Line()
    await line.sent("a")
    finished = asyncio.create_task(line.delivery.finish([]))
    await line.signals.let()
    assert not finished.done()
    await line.states.let()
    assert finished.done()


async def test_who_waits_no_longer_for_the_end_of_a_batch_leaves_what_is_on_its_way_alone() -> None:
    line = Line()
    sending = await line.sent("a")
    waiting = [asyncio.create_task(line.delivery.finish([])) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await line.signals.let()
    await line.states.let()
    await asyncio.gather(sending, waiting[1])
    assert (line.signals.taken, line.states.taken) == ([["signal a"]], [["state a"]])


async def test_what_the_broker_did_not_take_is_sent_again_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.delivery.RETRY_SECONDS", 0.0)
    line = Line()
    line.signals.failures = [NotDelivered(["topic"], 1, "away")]
    tasks = [await line.sent(name) for name in "ab"]
    await line.signals.let(3)
    await line.states.let(2)
    assert line.signals.taken == [["signal a"], ["signal b"]]
    await asyncio.gather(*tasks)


async def test_what_goes_wrong_with_one_part_loses_no_other() -> None:
    line = Line()
    first, second, third = [await line.sent(name) for name in "abc"]
    await line.signals.let()
    line.signals.failures = [RuntimeError("broken")]
    await line.signals.let(2)
    await line.states.let(2)
    assert line.signals.taken == [["signal a"], ["signal c"]]
    assert line.states.taken == [["state a"], ["state c"]]
    assert isinstance(second.exception(), RuntimeError)
    await asyncio.gather(first, third)

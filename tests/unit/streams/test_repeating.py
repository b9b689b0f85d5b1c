import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.store.errors import DatabaseAway
from streams import repeating
from streams.repeating import Repeating


class Turning(Repeating):
    """Takes turns that the test gives it."""

    def __init__(self, take: Callable[["Turning"], Awaitable[None]]) -> None:
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        super().__init__(self.failed_by)
        self.take = take
        self.turns = 0

    def failed_by(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    async def turn(self) -> None:
        self.turns += 1
        await self.take(self)


async def test_turns_are_taken_one_after_the_other_until_it_is_stopped() -> None:
    third = asyncio.Event()

    async def take(service: Turning) -> None:
        if service.turns == 3:
            third.set()
        await asyncio.sleep(0)

    service = Turning(take)
    await service.start()
    await third.wait()
    await service.stop()
    taken = service.turns
    await asyncio.sleep(0)
    assert service.turns == taken
    assert not service.failures


async def test_the_turn_at_hand_is_finished_when_it_is_stopped() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take(service: Turning) -> None:
        begun.set()
        await go_on.wait()
        ended.set()

    service = Turning(take)
    await service.start()
    await begun.wait()
    stopping = asyncio.ensure_future(service.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert ended.is_set()
    assert service.turns == 1


async def test_a_turn_that_never_ends_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "DRAIN_SECONDS", 0.01)
    begun = asyncio.Event()

    async def take(service: Turning) -> None:
        begun.set()
        await asyncio.Event().wait()

    service = Turning(take)
    await service.start()
    await begun.wait()
    await service.stop()
    assert not service.failures


async def test_an_error_ends_it_and_is_handed_on() -> None:
    async def take(service: Turning) -> None:
        raise LookupError("gone")

    service = Turning(take)
    await service.start()
    await service.failed.wait()
    assert [str(each) for each in service.failures] == ["gone"]
    assert service.turns == 1
    await service.stop()


async def test_a_database_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "AWAY_SECONDS", 0)
    third = asyncio.Event()

    async def take(service: Turning) -> None:
        if service.turns < 3:
            raise DatabaseAway("postgresql://", "it starts")
        third.set()
        await asyncio.sleep(0)

    service = Turning(take)
    await service.start()
    await third.wait()
    await service.stop()
    assert not service.failures


@pytest.mark.parametrize("waker", ["stop", "event"])
async def test_a_pause_ends_early_when_it_is_stopped_or_there_is_something_new(waker: str) -> None:
    new, resting, again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take(service: Turning) -> None:
        (resting if service.turns == 1 else again).set()
        await service.pause(3600, until=new)

    service = Turning(take)
    await service.start()
    await resting.wait()
    if waker == "event":
        new.set()
        await again.wait()
    await service.stop()
    assert not service.failures


async def test_a_pause_ends_by_itself() -> None:
    third = asyncio.Event()

    async def take(service: Turning) -> None:
        if service.turns == 3:
            third.set()
        await service.pause(0.001, until=asyncio.Event())

    service = Turning(take)
    await service.start()
    await third.wait()
    await service.stop()

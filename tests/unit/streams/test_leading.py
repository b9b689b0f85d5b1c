"""Of several workers' services on one database, one acts."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import insert

from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.tables import sequences
from streams import leading
from streams.leading import Leadership, Leading
from tests.contracts.store.makers import run_out


class Acting(Leading):
    """Says what it does."""

    def __init__(self, db: Database, holder: str) -> None:
        self.failures: list[BaseException] = []
        super().__init__(Leadership(db, "it", holder, timedelta(minutes=1)), self.failures.append)
        self.did: list[str] = []
        self.new = asyncio.Event()

    def say(self, what: str) -> None:
        self.did.append(what)
        self.new.set()

    async def act(self) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                insert(sequences), [{"scope": self._leadership.holder, "key": str(len(self.did)), "last": 1}]
            )
        self.say("acts")

    async def stand_by(self) -> None:
        self.say("stands by")

    async def finish(self) -> None:
        self.say("finishes")

    async def until(self, what: str) -> None:
        """Wait until that is what it did last."""
        while not self.did or self.did[-1] != what:
            self.new.clear()
            await self.new.wait()


@pytest.fixture
def pair(db: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[Acting, Acting]:
    monkeypatch.setattr(leading, "STAND_BY_SECONDS", 0.001)
    return Acting(db, "first"), Acting(db, "second")


async def test_one_acts_and_the_other_stands_by_until_that_one_stops(pair: tuple[Acting, Acting]) -> None:
    first, second = pair
    await first.start()
    await first.until("acts")
    await second.start()
    await second.until("stands by")
    await first.stop()
    assert first.did[-1] == "finishes"
    await second.until("acts")
    await second.stop()
    assert "finishes" not in second.did[:-1]
    assert [*first.failures, *second.failures] == []


async def test_whoever_stands_by_finishes_nothing(pair: tuple[Acting, Acting]) -> None:
    first, second = pair
    await first.turn()
    await second.turn()
    await second.stop()
    assert second.did == ["stands by"]
    await first.turn()
    await first.stop()
    assert first.did == ["acts", "acts", "finishes"]


async def test_whoever_is_not_heard_of_is_replaced_and_writes_nothing_more(
    db: Database, pair: tuple[Acting, Acting]
) -> None:
    first, second = pair
    await first.turn()
    await run_out(db, "it")
    await second.turn()
    # It does not know yet.
    assert first._leadership.holds
    await first.turn()
    assert first.did == ["acts"]
    await first.turn()
    assert (first.did, second.did) == (["acts", "stands by"], ["acts"])
    for service in pair:
        await service.stop()


async def test_whoever_never_led_writes_nothing(db: Database) -> None:
    with pytest.raises(LeaseLost):
        await Acting(db, "it").act()

"""Terms: a lease that is kept while something is done."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.store import leases, terms
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, LeaseLost
from orchestrator.store.terms import Term
from tests.contracts.store.makers import run_out, taken_over


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    yield database
    await database.close()


async def _term(db: Database, ttl: timedelta, holder: str = "a") -> Term:
    async with db.transaction() as tx:
        lease = await leases.acquire(tx, "it", holder, timedelta(minutes=1))
    assert lease is not None
    return Term(db, lease, ttl)


async def _free(db: Database) -> bool:
    async with db.snapshot() as tx:
        return await leases.may_have(tx, "it")


async def test_the_lease_is_kept_for_as_long_as_the_work_takes_and_then_given_back(db: Database) -> None:
    term = await _term(db, timedelta(seconds=1))

    async def work() -> str:
        await run_out(db, "it")
        while True:
            if not await _free(db):
                return "done"
            await asyncio.sleep(0.02)

    assert await term.during(work()) == "done"
    assert await _free(db)


async def test_work_that_fails_gives_the_lease_back(db: Database) -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await (await _term(db, timedelta(seconds=1))).during(work())
    assert await _free(db)


async def test_work_ends_at_once_when_the_lease_is_lost(db: Database) -> None:
    term = await _term(db, timedelta(milliseconds=30))
    ended: list[int] = []

    async def work() -> None:
        ended.append((await taken_over(db, "it", "b")).epoch)
        await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await term.during(work())
    assert ended == [2]


async def test_work_does_not_begin_where_the_lease_that_was_handed_on_is_another_s(db: Database) -> None:
    term = await _term(db, timedelta(seconds=1))
    await taken_over(db, "it", "b")
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")

    with pytest.raises(LeaseLost):
        await term.during(work())
    assert begun == []


class Away(Database):
    """Does not answer whoever writes, and notes when it was asked."""

    away = False
    asked: asyncio.Event

    def transaction(self):  # type: ignore[no-untyped-def]
        self.asked.set()
        if self.away:
            raise DatabaseAway("it", "it starts")
        return super().transaction()


async def test_a_database_that_does_not_answer_is_given_until_the_lease_has_run_out(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "RENEWALS", 50)
    away = Away(db._engine)
    away.asked = asyncio.Event()
    term = await _term(away, timedelta(seconds=1))
    keeping = asyncio.create_task(term.keep())

    async def asked_twice() -> None:
        for _ in range(2):
            away.asked.clear()
            await away.asked.wait()

    for away.away in (True, False, True):
        await asked_twice()
        assert not keeping.done()
        assert term.certain
    with pytest.raises(LeaseLost):
        await keeping
    assert not term.certain

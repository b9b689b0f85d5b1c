"""Leases: one holder at a time, and whoever has lost one writes nothing."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from orchestrator.store import leases
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Fenced, Lease, Standing
from orchestrator.store.tables import sequences
from tests.contracts.store.makers import run_out

_TTL = timedelta(minutes=1)
_ROW = {"scope": "a", "key": "b", "last": 7}


async def _acquired(db: Database, holder: str, name: str = "it", ttl: timedelta = _TTL) -> Lease | None:
    async with db.transaction() as tx:
        return await leases.acquire(tx, name, holder, ttl)


async def _lease(db: Database, holder: str, name: str = "it", ttl: timedelta = _TTL) -> Lease:
    lease = await _acquired(db, holder, name, ttl)
    assert lease is not None
    return lease


async def _renewed(db: Database, lease: Lease) -> None:
    async with db.transaction() as tx:
        await leases.renew(tx, lease, _TTL)


async def _may_have(db: Database, name: str = "it") -> bool:
    async with db.snapshot() as tx:
        return await leases.may_have(tx, name)


async def _write(db: Database, last: int) -> None:
    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [{"scope": "a", "key": str(last), "last": last}])


async def _written(db: Database) -> list[int]:
    async with db.snapshot() as tx:
        return sorted(await tx.scalars(select(sequences.c.last)))


async def test_a_lease_is_one_holder_s_until_it_gives_it_back(db: Database) -> None:
    assert await _may_have(db)
    first = await _lease(db, "a")
    assert first == Lease("it", "a", 1)
    assert not await _may_have(db)
    assert await _acquired(db, "b") is None
    assert await _acquired(db, "a") is None
    assert await _lease(db, "b", "another") == Lease("another", "b", 1)
    async with db.transaction() as tx:
        await leases.release(tx, first)
    assert await _may_have(db)
    assert await _lease(db, "b") == Lease("it", "b", 2)


async def test_a_lease_that_ran_out_may_be_another_s_and_until_then_may_be_renewed(db: Database) -> None:
    first = await _lease(db, "a")
    await run_out(db, "it")
    await _renewed(db, first)
    assert await _acquired(db, "b") is None
    await run_out(db, "it")
    assert await _may_have(db)
    second = await _lease(db, "b")
    assert second.epoch == 2
    with pytest.raises(LeaseLost, match="'it' of epoch 1"):
        await _renewed(db, first)
    await _renewed(db, second)


async def test_a_lease_runs_out_by_itself(db: Database) -> None:
    await _lease(db, "a", ttl=timedelta(milliseconds=20))
    await asyncio.sleep(0.05)
    assert (await _lease(db, "b")).epoch == 2


async def test_giving_back_what_is_another_s_changes_nothing(db: Database) -> None:
    first = await _lease(db, "a")
    await run_out(db, "it")
    second = await _lease(db, "a")
    async with db.transaction() as tx:
        await leases.release(tx, first)
    assert await _acquired(db, "b") is None
    await _renewed(db, second)


async def test_of_many_contenders_one_has_the_lease_at_a_time(db: Database) -> None:
    had: list[Lease] = []
    for _ in range(3):
        await run_out(db, "it")
        acquired = await asyncio.gather(*(_acquired(db, str(contender)) for contender in range(8)))
        (lease,) = [each for each in acquired if each is not None]
        had.append(lease)
    assert [lease.epoch for lease in had] == [1, 2, 3]


async def test_whoever_holds_the_lease_writes_and_whoever_lost_it_does_not(db: Database) -> None:
    first = await _lease(db, "a")
    old = Fenced(db, first)
    await _write(old, 1)
    await run_out(db, "it")
    # Nobody else has it yet.
    await _write(old, 2)
    new = Fenced(db, await _lease(db, "b"))
    with pytest.raises(LeaseLost):
        await _write(old, 3)
    with pytest.raises(LeaseLost):
        await old.commit(lambda tx: tx.execute(insert(sequences), [_ROW]))
    await _write(new, 4)
    assert await _written(old) == [1, 2, 4]


async def test_who_was_never_given_it_or_gave_it_back_does_not_write(db: Database) -> None:
    with pytest.raises(LeaseLost):
        await _write(Fenced(db, Lease("it", "a", 0)), 1)
    lease = await _lease(db, "a")
    async with db.transaction() as tx:
        await leases.release(tx, lease)
    with pytest.raises(LeaseLost):
        await _write(Fenced(db, lease), 1)
    assert await _written(db) == []


async def test_nobody_takes_a_lease_over_from_a_transaction_that_writes(db: Database) -> None:
    lease = await _lease(db, "a")
    await run_out(db, "it")
    order: list[str] = []

    async def take_over() -> None:
        assert await _acquired(db, "b") is not None
        order.append("taken over")

    async with Fenced(db, lease).transaction() as tx:
        await tx.execute(insert(sequences), [_ROW])
        taking = asyncio.create_task(take_over())
        await asyncio.sleep(0.1)
        order.append("written")
    await taking
    assert order == ["written", "taken over"]


async def test_holders_write_and_renew_beside_each_other(db: Database) -> None:
    lease = await _lease(db, "a")
    fenced = Fenced(db, lease)
    await asyncio.gather(*(_write(fenced, number) for number in range(6)), *(_renewed(db, lease) for _ in range(3)))
    assert await _written(db) == [*range(6)]


async def test_leases_of_drivers_are_found_by_experiment_and_whether_they_are_in_force(db: Database) -> None:
    lives, silent, gone = [await _lease(db, "w", leases.driver_of(name)) for name in ("lives", "si%lent", "gone")]
    await _lease(db, "w", "driver")
    await run_out(db, silent.name)
    async with db.transaction() as tx:
        await leases.release(tx, gone)
    async with db.snapshot() as tx:
        assert await leases.of_drivers(tx) == {"lives": Standing(lives, True), "si%lent": Standing(silent, False)}

"""Transactions: all or nothing, and readers that wait for nobody."""

import asyncio
from functools import partial

import numpy as np
import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.store.database import Database, insert_new
from orchestrator.store.sequences import take_sequences
from orchestrator.store.tables import sequences, trial_histories
from tests.contracts.store.makers import everything

_ROW = {"scope": "a", "key": "b", "last": 7}


async def test_a_transaction_that_raises_leaves_no_trace(db: Database) -> None:
    async def fail() -> None:
        async with db.transaction() as tx:
            await tx.execute(insert(sequences), [_ROW])
            raise LookupError

    before = await everything(db)
    with pytest.raises(LookupError):
        await fail()
    assert await everything(db) == before


async def test_a_snapshot_sees_what_was_committed_and_waits_for_no_writer(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [_ROW])
        async with db.snapshot() as reader:
            assert (await reader.execute(select(sequences))).all() == []
    async with db.snapshot() as reader:
        assert len((await reader.execute(select(sequences))).all()) == 1


async def test_a_snapshot_sees_one_moment(db: Database) -> None:
    async with db.snapshot() as reader:
        assert (await reader.execute(select(sequences))).all() == []
        async with db.transaction() as tx:
            await tx.execute(insert(sequences), [_ROW])
        assert (await reader.execute(select(sequences))).all() == []


async def test_a_snapshot_refuses_to_write(db: Database) -> None:
    with pytest.raises(DBAPIError):
        async with db.snapshot() as reader:
            await reader.execute(insert(sequences), [_ROW])
    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [_ROW])


async def test_only_rows_that_no_index_refuses_are_inserted_as_new(db: Database) -> None:
    async with db.transaction() as tx:
        await insert_new(tx, sequences, [_ROW])
        assert await insert_new(tx, sequences, [_ROW | {"last": 8}, _ROW | {"key": "c"}]) == {("a", "c")}
        assert await insert_new(tx, sequences, []) == set()
        assert await tx.scalar(select(sequences.c.last).where(sequences.c.key == "b")) == 7


async def test_a_row_that_points_nowhere_is_refused(db: Database) -> None:
    orphan = {"experiment": "none", "trial": "t", "prediction": np.ones(1), "profit": np.ones(1)}
    with pytest.raises(IntegrityError):
        async with db.transaction() as tx:
            await tx.execute(insert(trial_histories), [orphan])


async def test_upgrading_again_changes_nothing(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(insert(sequences), [_ROW])
    before = await everything(db)
    await db.upgrade()
    assert await everything(db) == before


async def test_work_is_committed_once_and_returns_what_it_returns(db: Database) -> None:
    async def work(tx: AsyncSession) -> int:
        await tx.execute(insert(sequences), [_ROW])
        return 5

    assert await db.commit(work) == 5
    with pytest.raises(IntegrityError):
        await db.commit(work)
    async with db.snapshot() as tx:
        assert len((await tx.execute(select(sequences))).all()) == 1


async def test_work_that_locks_in_opposite_orders_is_all_done(db: Database) -> None:
    async def lock(tx: AsyncSession, keys: str) -> None:
        for key in keys:
            await take_sequences(tx, "scope", key)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(db.commit(partial(lock, keys=keys)) for keys in ("abc", "cba", "bac")))
    async with db.snapshot() as tx:
        assert set(await tx.scalars(select(sequences.c.last))) == {3}

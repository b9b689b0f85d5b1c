"""What the rules make of challengers, on a real store: each step is one command, whoever decides it and how often."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest_asyncio
from sqlalchemy import insert

from orchestrator.core.gate import Override
from orchestrator.core.performance import Account
from orchestrator.store import challengers, commands, ensembles
from orchestrator.store.database import Database
from orchestrator.store.evidence import Case, gather
from orchestrator.store.tables import books
from schemas.base import Message
from schemas.commands import Promote, Retire, RollBack
from schemas.policies import Policy, PromotionRule
from schemas.topics import COMMANDS
from streams.promoting import Promoting
from tests.contracts.store.makers import NOW, VERDICT, events
from tests.unit.streams.watched import has_policy, serves, shadows

RULE = PromotionRule(sessions=20, looks=3)
DAY = timedelta(days=1)
NOISE = np.random.default_rng(3).normal(scale=0.001, size=200)
STRONG = VERDICT.model_copy(update={"sharpe_ratio": 3.0, "benchmark_sharpe": 0.0, "sessions": 2000})
OVERRIDE: Override = "paper"


@pytest_asyncio.fixture
async def db(db: Database, tmp_path: Path) -> Database:
    """Version 1 of `alpha` serves, version 2 is on trial, and a rule says what becomes of it."""
    await serves(db, tmp_path, 1)
    await shadows(db, tmp_path, 2)
    await follows(db, RULE)
    return db


async def follows(db: Database, rule: PromotionRule) -> None:
    await has_policy(db, Policy(promotion=rule))


async def earn(db: Database, version: int, profit: Sequence[float]) -> None:
    """A version's book, by session; the first session is that of both, in the middle of which they may have begun."""
    account = Account(version=version, profit={NOW + number * DAY: float(each) for number, each in enumerate(profit)})
    async with db.transaction() as tx:
        await tx.execute(books.delete().where(books.c.version == version))
        await tx.execute(insert(books), [{"ensemble": "alpha", "version": version, "account": account}])


async def differ(db: Database, sessions: int, by: float) -> None:
    """The challenger earns so much more than the champion in each session, and some noise."""
    await earn(db, 1, np.zeros(sessions + 1).tolist())
    await earn(db, 2, (NOISE[: sessions + 1] + by).tolist())


async def case(db: Database) -> Case:
    async with db.snapshot() as tx:
        found = await gather(tx, "alpha", NOW)
    assert found is not None
    return found


async def ordered(db: Database, times: int = 2) -> list[Message]:
    """What is ordered in all, after several workers have looked several times."""
    for _ in range(times):
        promoting = Promoting()
        for _ in range(2):
            await promoting.see_to(db, await case(db), NOW)
    return await events(db, COMMANDS.name)


async def test_a_better_challenger_is_promoted_once_at_the_first_look(db: Database) -> None:
    await differ(db, 19, 0.01)
    assert await ordered(db) == []
    await differ(db, 20, 0.01)
    (order,) = await ordered(db)
    assert isinstance(order, Promote)
    assert (order.command_id, order.version, order.tickers) == ("promote.alpha.2.1", 2, ())
    assert order.reasons[0].code == "better"
    # Whoever looks late finds the same.
    await differ(db, 33, 0.01)
    assert await ordered(db) == [order]


async def test_a_worse_challenger_is_retired_and_one_that_is_no_better_at_the_last_look(db: Database) -> None:
    await differ(db, 59, 0.0)
    assert await ordered(db) == []
    await differ(db, 60, 0.0)
    (order,) = await ordered(db)
    assert isinstance(order, Retire)
    assert order.command_id == "retire.alpha.2.3"


async def test_a_challenger_that_the_gate_refused_is_not_promoted_by_rule(db: Database, tmp_path: Path) -> None:
    refused = VERDICT.model_copy(update={"passed": False})
    await shadows(db, tmp_path, 3, verdict=refused)
    await earn(db, 1, [0.0] * 21)
    await earn(db, 3, (NOISE[:21] + 0.01).tolist())
    (order,) = await ordered(db)
    assert isinstance(order, Retire)
    assert order.reasons[0].code == "gate_refused"


async def test_a_canary_comes_first_where_the_rule_asks_for_one(db: Database) -> None:
    await follows(db, RULE.model_copy(update={"canary": ("MSFT",), "canary_sessions": 5}))
    await differ(db, 20, 0.01)
    (canary,) = await ordered(db)
    assert isinstance(canary, Promote)
    assert (canary.command_id, canary.tickers) == ("canary.alpha.2.1", ("MSFT",))
    await obey(db, canary)
    await differ(db, 24, 0.01)
    assert await ordered(db) == [canary]
    await differ(db, 25, 0.01)
    _, promoted = await ordered(db)
    assert isinstance(promoted, Promote)
    assert (promoted.command_id, promoted.tickers) == ("promote.alpha.2.1", ())


async def test_by_hand_alone_nothing_is_ordered(db: Database) -> None:
    await follows(db, RULE.model_copy(update={"auto": False}))
    await differ(db, 60, 0.01)
    assert await ordered(db) == []


async def test_a_promoted_version_below_its_band_gives_way_once(db: Database, tmp_path: Path) -> None:
    await shadows(db, tmp_path, 3, verdict=STRONG)
    by_hand = Promote(command_id="by-hand", issued_at=NOW, ensemble="alpha", version=3)
    await obey(db, by_hand)
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "alpha", 3, NOW)
    await earn(db, 3, (NOISE[:80] - 0.002).tolist())
    (order,) = await ordered(db)
    assert isinstance(order, RollBack)
    assert order.command_id == f"demote.alpha.3.{NOW:%Y%m%dT%H%M%S}"
    assert order.reasons[0].code == "below_band"


async def test_a_version_that_was_not_promoted_stays_however_little_it_earns(db: Database, tmp_path: Path) -> None:
    await serves(db, tmp_path, 3)
    await earn(db, 3, (NOISE[:80] - 0.01).tolist())
    assert await ordered(db) == []


async def obey(db: Database, order: Promote) -> None:
    """Carry a command out, as the agent of commands does."""

    async def carry_out(tx: Any) -> None:
        assert await commands.claim(tx, order.command_id, order.model_dump_json().encode(), NOW) is None
        assert (
            await challengers.promote(tx, "alpha", order.version, order.tickers, OVERRIDE, order.command_id, NOW) == ()
        )

    await db.commit(carry_out)

"""The books of live performance on a real store: what is written, told, and known again after a crash."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.calendar import calendar_named
from orchestrator.core.lifecycle import State
from orchestrator.core.performance import Account
from orchestrator.store import books, ensembles, performance
from orchestrator.store.database import Database
from orchestrator.store.tables import performance_read
from schemas.base import Mode
from schemas.codec import write_signal
from schemas.ensembles import EnsemblePerformance
from schemas.envelope import encode
from schemas.signals import Heartbeat
from schemas.topics import ENSEMBLE_EVENTS, SIGNALS, SIGNALS_PAPER, SIGNALS_SHADOW
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from streams.decision import Moment, Sheet, decide
from streams.performance import EVERY, Books
from streams.source import Record
from tests.contracts.store.makers import NOW, events, founded, proposal
from tests.unit.serving.drafts import candidate, draft
from tests.unit.streams.fakes import HOUR, bar, batch_answer, served, tick

PRICES = (100.0, 110.0, 99.0, 108.9, 98.01, 102.0)
TARGETS = (1, 1, -1, None, 0, 0)
COST = 0.0002
MOMENT = Moment(now=NOW, valid_until=NOW + HOUR, must_be_flat=False)
DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def db(db: Database, tmp_path: Path) -> Database:
    """A store in which `alpha` serves."""
    await with_alpha(db, tmp_path)
    return db


async def with_alpha(db: Database, folder: Path) -> None:
    """Have version 1 of an ensemble of two instruments serve."""
    assembled = EnsembleAssembler(Artifacts(folder / "artifacts")).assemble(
        draft(candidate("t1"), candidate("t2", "MSFT"), cost=COST)
    )
    experiment = await founded(db, 1, State.SELECTED)
    wanted = proposal(experiment, "alpha", manifest=assembled.manifest, digest=assembled.digest, members=2)
    async with db.transaction() as tx:
        await ensembles.propose(tx, wanted, NOW)
        await ensembles.mark_deployed(tx, "alpha", 1, NOW)


def signal(
    number: int, ticker: str = "AAPL", *, version: int = 1, mode: Mode = "live", ensemble: str = "alpha", **said: Any
) -> bytes:
    """The signal of one of the bars, as the tick path writes it."""
    asked = tick(24 * number, ticker=ticker).model_copy(update={"price": PRICES[number]} | said)
    sheet = Sheet(batch_answer(np.array([0.9]), [ticker], by=served(ensemble, version, mode)))
    wire, _ = decide(asked, sheet, 0, None, MOMENT)
    wire.target_position = TARGETS[number]
    return write_signal(wire)


def records(values: Sequence[bytes | None], first: int = 0, topic: str = SIGNALS.name) -> list[Record]:
    return [Record(topic, 0, offset, b"AAPL", value) for offset, value in enumerate(values, first)]


def whole() -> list[bytes | None]:
    return [signal(number) for number in range(len(PRICES))]


async def account(db: Database, mode: Mode = "live") -> Account:
    async with db.snapshot() as tx:
        return (await performance.of(tx, "alpha"))[mode]


async def told(db: Database) -> list[EnsemblePerformance]:
    return [each for each in await events(db, ENSEMBLE_EVENTS.name) if isinstance(each, EnsemblePerformance)]


async def test_it_tells_what_following_the_signals_has_earned(db: Database) -> None:
    kept = await Books.open(db)
    await kept.take(records(whole()))
    await kept.tell(NOW)
    (event,) = await told(db)
    # Decided at a close, carried out at the next one, held for a bar: of half of the stake.
    moves = (0.10, -0.10, 0.10, -0.10, 102 / 98.01 - 1)
    gained = (moves[1], moves[2], -moves[3], -moves[4])
    costs = (COST, 0.0, 2 * COST, 0.0)
    assert event.net_return == pytest.approx((sum(gained) - sum(costs)) / 2)
    assert (event.sessions, event.signals, event.hit_rate) == (4, 6, 0.5)
    assert (event.ensemble, event.version, event.serving_version, event.mode) == ("alpha", 1, 1, "live")
    assert (event.since, event.through, event.filled_at) == (bar(0), bar(120), "next_close")
    assert event.net_sharpe is not None
    assert event.confidence is not None


async def test_what_was_read_counts_once_whatever_is_read_again_and_whoever_goes_on(db: Database) -> None:
    first = await Books.open(db)
    await first.take(records(whole()))
    expected = await account(db)
    again = await Books.open(db)
    assert again.read_to == {(SIGNALS.name, 0): len(PRICES)}
    # The tick path says again what it may not have said, and one of its signals is read again.
    await again.take(records(whole()[3:], first=6))
    await again.take(records(whole()[5:], first=5))
    assert await account(db) == expected


async def test_the_books_and_how_far_they_go_are_written_together(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await Books.open(db)
    await kept.take(records(whole()[:3]))
    before = await account(db)

    put = performance.put

    async def full(tx: AsyncSession, table: Table, row: Mapping[str, Any]) -> None:
        if table is performance_read:
            raise OSError("the disk is full")
        await put(tx, table, row)

    monkeypatch.setattr(performance, "put", full)
    with pytest.raises(OSError, match="full"):
        await kept.take(records(whole()[3:], first=3))
    assert await account(db) == before
    assert (await Books.open(db)).read_to == {(SIGNALS.name, 0): 3}


async def test_modes_are_followed_by_themselves(db: Database) -> None:
    kept = await Books.open(db)
    await kept.take(records(whole()))
    paper = [signal(number, mode="paper") for number in range(2)]
    await kept.take(records(paper, topic=SIGNALS_PAPER.name))
    assert ((await account(db)).signals, (await account(db, "paper")).signals) == (6, 2)


async def test_a_version_is_followed_wherever_it_is_heard(db: Database) -> None:
    """A challenger is heard on another topic from some bar on, which may be read first; what it says twice is once."""
    followed = await Books.open(db)
    shadow = [signal(number, mode="shadow") for number in range(4)]
    await followed.take(records(whole()[3:]) + records(shadow, topic=SIGNALS_SHADOW.name))
    async with db.snapshot() as tx:
        found = await books.of(tx, "alpha")
        assert await books.every(tx) == {("alpha", 1): found[1]}
    heard = await Books.open(db)
    assert found[1].signals == 6
    assert ((await account(db)).signals, (await account(db, "shadow")).signals) == (2, 4)
    await heard.take(records(whole()))
    async with db.snapshot() as tx:
        assert await books.of(tx, "alpha") == found
    figures = found[1].figures(252)
    assert (figures.sessions, figures.hit_rate) == (4, 0.5)


async def test_what_cannot_be_followed_is_passed_over(db: Database) -> None:
    heartbeat = Heartbeat(instance="w", partition=0, emitted_at=NOW, state="live", lag=0)
    strange = [None, b"{", encode(heartbeat), signal(0, ensemble="of-another"), signal(0, version=2)]
    after = datetime(2100, 1, 1, tzinfo=NOW.tzinfo)
    outside = [signal(0, event_time=after), whole()[0], signal(1, price=-1.0)]
    kept = await Books.open(db)
    await kept.take(records([*strange, *outside]))
    assert (await account(db)).signals == 1
    assert kept.read_to == {(SIGNALS.name, 0): 8}


async def test_an_instrument_that_a_later_version_no_longer_covers_is_given_up_at_a_price(db: Database) -> None:
    kept = await Books.open(db)
    await kept.take(records([signal(0, "IBM"), whole()[0]]))
    assert list((await account(db)).lines) == ["IBM 1h", "AAPL 1h"]
    assert (await account(db)).lines["IBM 1h"].bars == ()


async def test_it_tells_when_a_session_closes_and_else_now_and_then(db: Database) -> None:
    kept = await Books.open(db)
    close = calendar_named("24/7").session_close(bar(72))
    await kept.take(records(whole()[:4]))
    for moment in (close - HOUR, close + HOUR):
        await kept.tell(moment)
    assert len(await told(db)) == 1
    await kept.take(records([signal(3, revision=1)], first=4))
    await kept.tell(close - HOUR + EVERY / 2)
    assert len(await told(db)) == 1
    await kept.tell(close)
    assert len(await told(db)) == 2
    await kept.take(records(whole()[4:5], first=5))
    await kept.tell(close + timedelta(seconds=1))
    assert [each.signals for each in await told(db)] == [4, 4, 5]


async def test_what_was_not_told_before_a_crash_is_told_after_it(db: Database) -> None:
    kept = await Books.open(db)
    await kept.take(records(whole()))
    again = await Books.open(db)
    await again.tell(NOW)
    await (await Books.open(db)).tell(NOW + DAY)
    assert len(await told(db)) == 1


async def test_nothing_is_told_of_signals_without_a_price(db: Database) -> None:
    kept = await Books.open(db)
    await kept.take(records([signal(number, price=None) for number in range(len(PRICES))]))
    await kept.tell(NOW)
    assert await told(db) == []

"""Batches of search requests on a real store: what is recorded, what is told, and what is buried."""

import json
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.admission import Limits
from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, requests
from orchestrator.store.database import Database
from schemas.dead_letter import read_dead_letter
from schemas.search import SearchRequest
from schemas.topics import SEARCH_REQUESTS
from streams.intake import Intake, readable_request_id
from streams.judging import Admissible, Judge
from streams.metrics import REQUESTS
from streams.publisher import NotDelivered
from streams.source import Record
from tests.contracts.store.makers import TRACE, events, everything
from tests.unit.streams.fakes import Clock, FakePublisher

DLQ = "search-requests.dlq"
GRID = {"alpha": [0.01, 0.02], "l1_ratio": [0.5]}
Said = list[tuple[str, str]]


def document(request_id: str = "good", **fields: Any) -> dict[str, Any]:
    base = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"], "param_grid": GRID}
    return {"request_id": request_id} | base | fields


def asked(value: bytes | dict[str, Any], offset: int = 0) -> Record:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record(
        SEARCH_REQUESTS.name, 2, offset, b"key", body, (("producer", b"test"), ("traceparent", TRACE.encode()))
    )


class Desk:
    """An intake on a store, and what it speaks to."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.publisher = FakePublisher()
        self.clock = Clock()
        self.accepted = 0
        self.judge = Judge(
            tickers=lambda timeframe: {"AAPL", "MSFT"},
            algorithms={"elasticnet": ElasticNetTrainer()},
            limits=Limits(digits=6),
        )
        self.intake = Intake(
            database=db,
            judge=self.judged,
            publisher=self.publisher,
            clock=self.clock,
            on_accepted=self.accept,
        )
        self.broken: dict[str, Exception] = {}
        """What judging raises, by request id."""
        self.judging: list[int] = []
        """The threads in which requests were judged."""

    def judged(self, request: SearchRequest, now: datetime) -> Admissible:
        self.judging.append(threading.get_ident())
        if request.request_id in self.broken:
            raise self.broken[request.request_id]
        return self.judge(request, now)

    def accept(self) -> None:
        self.accepted += 1

    async def take(self, *values: bytes | dict[str, Any]) -> None:
        await self.intake.take([asked(value, offset) for offset, value in enumerate(values)])

    async def told(self) -> Said:
        """The events, each with the request that it is of."""
        return [(event.event, event.request_id) for event in await events(self.db, "experiment-events")]


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"no JSON", "not_json"),
    "no value": (b"", "not_json"),
    "no UTF-8": (b'{"request_id": "bad\xff"}', "not_utf8"),
    "no object": (b'["bad"]', "schema"),
    "no fields": (b"{}", "schema"),
    "a field missing": ({"request_id": "bad", "strategy": "grid"}, "schema"),
    "a field of another type": (document("bad", tickers="AAPL"), "schema"),
    "a field that nobody knows": (document("bad", tickres=["AAPL"]), "schema"),
    "an id that is none": (document("b/d"), "schema"),
    "an id that is a number": (document() | {"request_id": 7}, "schema"),
    "a strategy that is none": (document("bad", strategy="guess"), "schema"),
    "a grid for another strategy": (document("bad", strategy="pbt"), "not_for_strategy"),
    "an algorithm that is not there": (document("bad", algorithm="oracle"), "unknown_algorithm"),
    "a ticker that is not there": (document("bad", tickers=["AAPL", "NONE"]), "unknown_ticker"),
    "a ticker that is none": (document("bad", tickers=["../etc"]), "schema"),
    "an empty grid": (document("bad", param_grid={}), "empty_grid"),
    "a parameter without values": (document("bad", param_grid={"alpha": []}), "schema"),
    "a parameter of something else": (document("bad", param_grid=GRID | {"depth": [3]}), "unknown_parameter"),
    "a value that cannot be": (document("bad", param_grid={"alpha": [-1]}), "parameter_out_of_range"),
    "a grid without end": (
        document("bad", param_grid={"alpha": [n / 1e4 for n in range(1, 10_000)], "l1_ratio": [0.1, 0.9]}),
        "too_many_trials",
    ),
    "a span that is empty": (
        document("bad", data_start="2020-01-02T00:00:00Z", data_end="2020-01-01T00:00:00Z"),
        "empty_span",
    ),
    "a request that has expired": (document("bad", expires_at="2020-01-01T00:00:00Z"), "expired"),
}


@pytest.mark.parametrize(("bad", "code"), BAD.values(), ids=BAD.keys())
async def test_a_bad_message_is_buried_whole_with_reasons_told_where_it_can_be_and_the_next_is_taken(
    desk: Desk, bad: Any, code: str
) -> None:
    value = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    await desk.take(bad, document())
    (dead,) = desk.publisher.published
    letter = read_dead_letter(dead.headers)
    assert (dead.topic, dead.key, dead.value) == (DLQ, b"key", value)
    assert letter.headers == [("producer", b"test"), ("traceparent", TRACE.encode())]
    assert (letter.topic, letter.partition, letter.offset) == (SEARCH_REQUESTS.name, 2, 0)
    assert code in [reason.code for reason in letter.reasons]
    expected: Said = [("accepted", "good")]
    if readable_request_id(value) is not None:
        expected.insert(0, ("rejected", "bad"))
        rejected, _ = await events(desk.db, "experiment-events")
        assert rejected.reasons == letter.reasons
    assert await desk.told() == expected
    assert desk.accepted == 1


async def test_a_tombstone_is_buried(desk: Desk) -> None:
    await desk.intake.take([Record(SEARCH_REQUESTS.name, 0, 0, None, None)])
    (dead,) = desk.publisher.published
    assert (dead.key, dead.value) == (None, None)
    assert await desk.told() == []


async def test_a_taken_name_is_rejected_and_buried(desk: Desk) -> None:
    await desk.take(document("first", name="mine"), document("second", name="mine", seed=7), document("third", seed=8))
    (dead,) = desk.publisher.published
    assert json.loads(dead.value or b"")["request_id"] == "second"
    assert [reason.code for reason in read_dead_letter(dead.headers).reasons] == ["name_taken"]
    assert await desk.told() == [("accepted", "first"), ("rejected", "second"), ("accepted", "third")]


async def test_a_taken_name_is_buried_before_anything_is_recorded(desk: Desk) -> None:
    desk.publisher.refused = {1}
    batch = [document("first", name="mine"), document("second", name="mine", seed=7)]
    before = await everything(desk.db)
    with pytest.raises(NotDelivered):
        await desk.take(*batch)
    assert await everything(desk.db) == before
    assert desk.accepted == 0
    await desk.take(*batch)
    assert await desk.told() == [("accepted", "first"), ("rejected", "second")]


async def test_the_same_work_under_way_is_attached_to(desk: Desk) -> None:
    await desk.take(document("first"), document("second", name="mine"))
    assert await desk.told() == [("accepted", "first"), ("duplicate", "second")]
    assert desk.publisher.published == []


async def test_a_batch_that_comes_again_changes_nothing(desk: Desk) -> None:
    batch = (document("first", name="mine"), document("second"), document("third", seed=7))
    await desk.take(*batch)
    before = await everything(desk.db)
    await desk.take(*batch)
    assert await everything(desk.db) == before
    assert desk.accepted == 1


@pytest.mark.parametrize("error", [ValueError("too many"), RecursionError(), MemoryError(), ZeroDivisionError("\0")])
async def test_a_request_that_makes_judging_break_is_rejected_and_buried_and_the_next_is_taken(
    desk: Desk, error: Exception
) -> None:
    desk.broken = {"bad": error}
    await desk.take(document("bad"), document())
    (dead,) = desk.publisher.published
    (reason,) = read_dead_letter(dead.headers).reasons
    assert reason.code == "cannot_be_judged"
    assert type(error).__name__ in reason.message
    assert await desk.told() == [("rejected", "bad"), ("accepted", "good")]


async def test_features_that_cannot_be_looked_at_now_reject_nothing(desk: Desk) -> None:
    desk.broken = {"good": OSError("stale file handle")}
    before = await everything(desk.db)
    with pytest.raises(OSError, match="stale file handle"):
        await desk.take(document())
    assert await everything(desk.db) == before
    assert desk.publisher.published == []


async def test_requests_are_judged_where_no_tick_waits_for_them(desk: Desk) -> None:
    await desk.take(document())
    assert desk.judging
    assert threading.get_ident() not in desk.judging


async def test_a_handled_request_that_comes_again_after_its_expiry_is_no_dead_letter(desk: Desk) -> None:
    expires = (desk.clock.now + timedelta(hours=1)).isoformat()
    batch = (document("first", expires_at=expires), document("second", expires_at=expires, priority=7))
    await desk.take(*batch)
    before = await everything(desk.db)
    desk.clock.advance(timedelta(hours=2))
    await desk.take(*batch)
    assert await everything(desk.db) == before
    assert desk.publisher.published == []
    assert await desk.told() == [("accepted", "first"), ("duplicate", "second")]


async def test_another_message_under_a_handled_request_s_id_is_buried(desk: Desk) -> None:
    expires = (desk.clock.now + timedelta(hours=1)).isoformat()
    await desk.take(document(expires_at=expires))
    desk.clock.advance(timedelta(hours=2))
    await desk.take(document(expires_at=expires, seed=7))
    (dead,) = desk.publisher.published
    assert [reason.code for reason in read_dead_letter(dead.headers).reasons] == ["expired"]
    assert await desk.told() == [("accepted", "good")]


async def test_a_request_twice_in_a_batch_is_one(desk: Desk) -> None:
    await desk.take(document(), document())
    assert await desk.told() == [("accepted", "good")]


async def test_a_thousand_identical_requests_are_one_experiment(desk: Desk) -> None:
    for _ in range(5):
        await desk.take(*(document() for _ in range(200)))
    assert await desk.told() == [("accepted", "good")]
    assert desk.accepted == 1
    assert len((await everything(desk.db))["experiments"]) == len((await everything(desk.db))["requests"]) == 1


async def test_the_same_work_under_a_hundred_ids_is_one_experiment_and_each_keeps_its_clause(desk: Desk) -> None:
    asking = [document(f"r{number}", deploy={"auto": True, "top_n": 1 + number}) for number in range(100)]
    for start in range(0, 100, 20):
        await desk.take(*asking[start : start + 20])
    told = await desk.told()
    assert told[0] == ("accepted", "r0")
    assert set(told[1:]) == {("duplicate", f"r{number}") for number in range(1, 100)}
    async with desk.db.snapshot() as tx:
        (experiment,) = await experiments.in_states(tx, State.ACCEPTED)
        clauses = await requests.deploy_clauses(tx, experiment.id)
    assert {name: clause.top_n for name, clause in clauses.items()} == {
        f"r{number}": 1 + number for number in range(100)
    }
    assert {event.experiment for event in await events(desk.db, "experiment-events")} == {experiment.id}


async def test_the_same_work_after_it_has_ended_is_another_experiment(desk: Desk) -> None:
    await desk.take(document("first"))
    async with desk.db.transaction() as tx:
        (experiment,) = await experiments.in_states(tx, State.ACCEPTED)
        await experiments.advance(tx, experiment.id, State.CANCELLED, None, desk.clock())
    await desk.take(document("first"), document("second"))
    assert await desk.told() == [("accepted", "first"), ("accepted", "second")]


async def test_a_bad_message_that_comes_again_is_buried_again_and_a_request_under_way_keeps_its_id(desk: Desk) -> None:
    await desk.take(document(), document(tickers=["NONE"]))
    assert await desk.told() == [("accepted", "good")]
    await desk.take(document(tickers=["NONE"]))
    assert await desk.told() == [("accepted", "good")]
    assert len(desk.publisher.published) == 2


async def test_a_request_that_was_mended_is_taken_under_the_same_id(desk: Desk) -> None:
    await desk.take(document(tickers=["NONE"]))
    await desk.take(document())
    assert await desk.told() == [("rejected", "good"), ("accepted", "good")]


async def test_nothing_is_recorded_when_a_dead_letter_is_not_acknowledged(desk: Desk) -> None:
    desk.publisher.refused = {1}
    before = await everything(desk.db)
    with pytest.raises(NotDelivered):
        await desk.take(document(), b"no JSON")
    assert await everything(desk.db) == before
    assert desk.accepted == 0


async def test_nothing_is_buried_twice_by_one_taking_and_nothing_published_for_good_requests(desk: Desk) -> None:
    await desk.take(b"no JSON", document("first", name="mine"), document("second", name="mine", seed=7), b"nor this")
    assert [dead.value for dead in desk.publisher.published if b"nor" in (dead.value or b"")] == [b"nor this"]
    assert [len(batch) for batch in desk.publisher.batches] == [2, 1]


async def test_a_store_that_does_not_take_it_fails_the_batch(desk: Desk) -> None:
    async with desk.db.transaction() as tx:
        await tx.execute(text("DROP TABLE outbox"))
    with pytest.raises(SQLAlchemyError):
        await desk.take(document())
    assert desk.accepted == 0


async def test_outcomes_are_counted_by_their_names(desk: Desk) -> None:
    def counted() -> dict[str, float]:
        samples = [sample for metric in REQUESTS.collect() for sample in metric.samples]
        return {sample.labels["outcome"]: sample.value for sample in samples if sample.name.endswith("_total")}

    before = counted()
    await desk.take(
        document("first", name="mine"),
        document("first", name="mine"),
        document("second"),
        document("third", name="mine", seed=7),
        document("fourth", tickers=["NONE"]),
        b"no JSON",
    )
    grown = {outcome: value - before.get(outcome, 0) for outcome, value in counted().items()}
    assert grown == {"accepted": 1, "known": 1, "duplicate": 1, "rejected": 3}


async def test_the_events_of_a_request_go_on_with_its_trace(desk: Desk) -> None:
    await desk.take(document())
    async with desk.db.snapshot() as tx:
        (found,) = (await tx.execute(text("SELECT traceparent FROM requests"))).scalars()
    assert found == TRACE


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'{"request_id": "r1", "strategy": 7}', "r1"),
        (b'{"request_id": "r1"', None),
        (b'{"request_id": null}', None),
        (b'{"request_id": ["r1"]}', None),
        (b'{"request_id": ""}', None),
        (b'{"request_id": "a b"}', None),
        (b'["request_id"]', None),
        (b'"request_id"', None),
        (b"7", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"request_id": ' + b"9" * 10_000 + b"}", None),
    ],
)
def test_a_request_id_is_read_from_whatever_has_one(value: bytes, found: str | None) -> None:
    assert readable_request_id(value) == found

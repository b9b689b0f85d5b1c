"""One batch of ticks: who is asked, what is said where, and what happens when something does not answer."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.calendar import calendar_named
from orchestrator.core.halting import Effect
from orchestrator.core.versions import VersionState
from orchestrator.store.ensembles import Version
from schemas.base import Mode
from schemas.dead_letter import read_dead_letter
from schemas.envelope import decode, read_headers
from schemas.signals import Signal, TickSkipped
from schemas.topics import SIGNAL_STATE, SIGNALS, SIGNALS_BY_MODE, SIGNALS_PAPER, SIGNALS_REPLAY
from serving.rolling import Worth
from streams import asking, delivery
from streams.delivery import AtLeastOnce
from streams.heartbeats import Pulse
from streams.memory import SignalMemory, state_partition
from streams.publisher import Outgoing
from streams.routes import Route, Routes
from streams.ticking import GRACE, TickPath
from streams.triage import TickRules
from tests.contracts.store.makers import proposal
from tests.unit.streams.fakes import (
    HOUR,
    NOW,
    Clock,
    FakeAnswerer,
    FakePublisher,
    Halts,
    Hurdle,
    bar,
    record,
    served,
    tick,
)

TTL = timedelta(seconds=60)
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Line:
    """A tick path that two live ensembles and one on paper listen to."""

    def __init__(self) -> None:
        self.publisher = FakePublisher()
        self.clock = Clock()
        self.answerer = FakeAnswerer(
            {"alpha": served("alpha"), "beta": served("beta"), "paper": served("paper", mode="paper")}
        )
        self.routes = Routes()
        self.cover("alpha", "AAPL", "MSFT")
        self.memory = SignalMemory(lambda partitions: [])
        self.halts = Halts()
        self.pulse = Pulse()
        self.path = self.path_to(self.publisher)

    def path_to(self, publisher: FakePublisher, **rules: Any) -> TickPath:
        """A tick path that publishes there."""
        return TickPath(
            answerer=self.answerer,
            routes=self.routes,
            memory=self.memory,
            delivery=AtLeastOnce(publisher, publisher),
            calendar=calendar_named("24/7"),
            rules=TickRules(ttl=TTL, **rules),
            controls=self.halts,
            pulse=self.pulse,
            clock=self.clock,
            source="/test",
        )

    def cover(self, ensemble: str, *tickers: str, mode: Mode = "live", **others: tuple[str, ...]) -> None:
        """Make these, and no others, the serving ensembles."""
        covering = {ensemble: tickers} | others
        self.routes.replace(Route(name, frozenset(of), "1h", mode) for name, of in covering.items())

    def said(self, topic: str = SIGNALS.name) -> list[Signal | TickSkipped]:
        models: dict[str | None, Any] = {Signal.TYPE: Signal, TickSkipped.TYPE: TickSkipped}
        return [decode(models[read_headers(each.headers).type], each.value) for each in self.publisher.on(topic)]

    @property
    def signals(self) -> list[Signal]:
        return [each for each in self.said() if isinstance(each, Signal)]

    @property
    def skips(self) -> list[tuple[str, str | None]]:
        return [(each.reason, each.ensemble) for each in self.said() if isinstance(each, TickSkipped)]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRY_SECONDS", 0)
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0)


async def test_each_ensemble_is_asked_once_for_a_whole_batch(line: Line) -> None:
    line.cover("alpha", "AAPL", "MSFT", beta=("AAPL",))
    await line.path.take([record(tick(n, ticker=ticker)) for n in range(3) for ticker in ("AAPL", "MSFT")])
    assert [(name, batch.tickers) for name, batch in line.answerer.asked] == [
        ("alpha", ("AAPL", "MSFT") * 3),
        ("beta", ("AAPL",) * 3),
    ]


async def test_every_covering_ensemble_gives_a_signal_in_the_order_of_the_ticks(line: Line) -> None:
    line.cover("alpha", "AAPL", beta=("AAPL",))
    await line.path.take([record(tick(0)), record(tick(1), 1), record(tick(0, ticker="IBM"), 2)])
    assert [(each.ensemble, each.event_time) for each in line.signals] == [
        ("alpha", bar(0)),
        ("beta", bar(0)),
        ("alpha", bar(1)),
        ("beta", bar(1)),
    ]


async def test_signals_go_out_before_their_states_and_states_before_anything_is_remembered(line: Line) -> None:
    await line.path.take([record(tick(0)), record(b"garbage", 1)])
    topics = [[each.topic for each in batch] for batch in line.publisher.batches]
    assert topics == [["feature-ticks.dlq", SIGNALS.name], [SIGNAL_STATE.name]]


@pytest.mark.parametrize("refused", [{1}, {2}, {1, 2, 4}])
async def test_a_broker_that_does_not_acknowledge_is_sent_the_same_again_and_nothing_is_decided_twice(
    line: Line, no_wait: None, refused: set[int]
) -> None:
    line.publisher.refused = refused
    await line.path.take([record(tick(0)), record(b"garbage", 1)])
    assert len(line.answerer.asked) == 1
    topics = [[each.topic for each in batch] for batch in line.publisher.batches]
    assert topics == [["feature-ticks.dlq", SIGNALS.name], [SIGNAL_STATE.name]]


async def test_while_a_batch_is_on_its_way_the_next_is_decided_and_neither_ends_before_its_states_are_durable(
    line: Line,
) -> None:
    opened, decided = asyncio.Event(), asyncio.Event()

    class Slow(FakePublisher):
        async def publish(self, records: Sequence[Outgoing]) -> None:
            await opened.wait()
            await super().publish(records)

    line.publisher = Slow()
    line.answerer.hanging["alpha"] = hurdle = Hurdle(decided)
    hurdle.opened.set()
    path = line.path_to(line.publisher)
    taking = [asyncio.create_task(path.take([record(tick(hours, 0.9 - hours), hours)])) for hours in range(2)]
    for _ in taking:
        await decided.wait()
        decided.clear()
    assert not any(each.done() for each in taking)
    assert line.publisher.batches == []
    opened.set()
    await asyncio.gather(*taking)
    topics = [[each.topic for each in batch] for batch in line.publisher.batches]
    assert topics == [[SIGNALS.name], [SIGNAL_STATE.name]] * 2
    assert [(each.event_time, each.target_position) for each in line.signals] == [(bar(0), 1), (bar(1), 0)]


@pytest.mark.parametrize(("size", "answered"), [(6, [2]), (7, [0, 2])])
async def test_a_batch_that_lags_is_conflated_to_the_newest_tick_of_each_instrument(
    line: Line, size: int, answered: list[int]
) -> None:
    path = line.path_to(line.publisher, conflates_from=size)
    # Whatever a batch holds counts for how full it is.
    batch = (
        [record(b"garbage", 9)]
        + [record(tick(hours), hours) for hours in (0, 2, 1)]
        + [record(tick(hours, ticker="MSFT")) for hours in (1, 0)]
    )
    await path.take(batch)
    assert sorted(each.event_time for each in line.signals if each.ticker == "AAPL") == [bar(each) for each in answered]
    late = [("late", "alpha")] * 2
    assert line.skips == ([("conflated", "alpha"), *late] if size == 6 else late)


async def test_a_signal_carries_the_id_of_its_message_the_trace_of_its_tick_and_the_instrument_as_key(
    line: Line,
) -> None:
    cause = record(tick(0))
    await line.path.take([cause._replace(headers=(("traceparent", TRACE),))])
    (sent,), (signal,) = line.publisher.on(SIGNALS.name), line.signals
    envelope = read_headers(sent.headers)
    assert (envelope.message_id, envelope.source) == (signal.id, "/test")
    assert str(envelope.trace).encode() == TRACE
    assert (sent.key, sent.partition) == (b"AAPL", None)


async def test_a_signal_is_valid_until_the_next_bar_has_closed_and_a_little_longer(line: Line) -> None:
    await line.path.take([record(tick(0))])
    (signal,) = line.signals
    assert signal.valid_until == bar(0) + HOUR + GRACE
    assert NOW < signal.emitted_at <= line.clock.now


@pytest.mark.parametrize("partition", [0, 7, 8, 13])
async def test_states_lie_in_the_partition_that_belongs_to_the_tick_s(line: Line, partition: int) -> None:
    await line.path.take([record(tick(0), partition=partition)])
    (state,) = line.publisher.on(SIGNAL_STATE.name)
    assert state.partition == state_partition(partition) == partition % SIGNAL_STATE.partitions
    assert state.key == b"alpha|AAPL|1h|live"


async def test_a_repeat_in_a_batch_and_one_in_the_next_give_nothing(line: Line) -> None:
    await line.path.take([record(tick(0)), record(tick(0), 1)])
    await line.path.take([record(tick(0), 2)])
    assert len(line.said()) == 1


async def test_late_and_expired_ticks_are_skipped_for_each_ensemble_with_the_reason(line: Line) -> None:
    line.cover("alpha", "AAPL", beta=("AAPL",))
    await line.path.take([record(tick(5)), record(tick(4), 1), record(tick(6, age=2 * TTL), 2)])
    assert line.skips == [("late", "alpha"), ("late", "beta"), ("ttl", "alpha"), ("ttl", "beta")]
    assert [each.event_time for each in line.signals] == [bar(5), bar(5)]


async def test_an_older_revision_after_a_newer_one_is_late_and_not_a_repeat(line: Line) -> None:
    await line.path.take([record(tick(0, revision=1)), record(tick(0), 1)])
    assert line.skips == [("late", "alpha")]


async def test_a_replayed_tick_is_answered_however_old_and_is_heard_apart(line: Line) -> None:
    await line.path.take([record(tick(0, mode="replay", age=timedelta(days=4000)))])
    assert line.said() == []
    assert len(line.said(SIGNALS_REPLAY.name)) == 1


async def test_a_replay_changes_nothing_that_is_live(line: Line) -> None:
    await line.path.take([record(tick(5, 0.9))])
    await line.path.take([record(tick(9, -0.9, mode="replay"), 1)])
    await line.path.take([record(tick(6, 0.5), 2)])
    held = line.signals[-1]
    assert (held.event_time, held.signal, held.target_position) == (bar(6), "HOLD", 1)


async def test_an_ensemble_is_heard_in_its_own_mode(line: Line) -> None:
    line.cover("paper", "AAPL", mode="paper")
    await line.path.take([record(tick(0))])
    assert [each.mode for each in line.said(SIGNALS_PAPER.name)] == ["paper"]
    assert line.said() == []


async def test_a_version_that_took_over_meanwhile_is_heard_in_its_own_mode_and_starts_there_anew(line: Line) -> None:
    line.cover("paper", "AAPL", mode="paper")
    await line.path.take([record(tick(0, 0.9))])
    line.answerer.versions["paper"] = served("paper", 2)
    await line.path.take([record(tick(1, 0.9), 1)])
    (promoted,) = line.signals
    assert (promoted.version, promoted.mode, promoted.signal) == (2, "live", "BUY")
    await line.path.take([record(tick(1, 0.9), 2)])
    assert len(line.signals) == 1


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no_value"),
        (b"", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (b"no JSON", "not_json"),
        (b"[]", "schema"),
        (b'{"ticker": "AAPL"}', "schema"),
    ],
)
async def test_what_is_no_tick_is_buried_whole_with_reasons_and_the_rest_goes_on(
    line: Line, value: bytes | None, code: str
) -> None:
    await line.path.take([record(tick(0)), record(value, 7, partition=3), record(tick(1), 8)])
    (dead,) = line.publisher.on("feature-ticks.dlq")
    letter = read_dead_letter(dead.headers)
    assert (dead.key, dead.value) == (b"key", value)
    assert letter.headers == [("producer", b"test")]
    assert (letter.topic, letter.partition, letter.offset) == ("feature-ticks", 3, 7)
    assert {reason.code for reason in letter.reasons} == {code}
    assert [each.event_time for each in line.signals] == [bar(0), bar(1)]


@pytest.mark.parametrize(
    ("fault", "mode", "code"),
    [
        (NOW + timedelta(seconds=6), "live", "event_time_ahead"),
        (bar(0).replace(year=1950), "live", "outside_calendar"),
        (bar(0).replace(year=2199), "replay", "outside_calendar"),
    ],
)
async def test_a_time_that_cannot_be_is_a_dead_letter_and_said(line: Line, fault: Any, mode: Mode, code: str) -> None:
    impossible = record(tick(mode=mode, event_time=fault), 1)
    await line.path.take([impossible, record(tick(0), 2)])
    (dead,) = line.publisher.on("feature-ticks.dlq")
    assert [reason.code for reason in read_dead_letter(dead.headers).reasons] == [code]
    assert dead.value == impossible.value
    (skip,) = [each for each in line.said(SIGNALS_BY_MODE[mode].name) if isinstance(each, TickSkipped)]
    assert (skip.reason, skip.ensemble, skip.event_time) == ("dead_letter", None, fault)
    assert [each.event_time for each in line.signals] == [bar(0)]


async def test_a_bar_may_close_a_little_ahead_of_the_clock(line: Line) -> None:
    await line.path.take([record(tick(event_time=NOW + timedelta(seconds=4)))])
    assert len(line.signals) == 1


async def test_ticks_with_other_features_are_asked_apart_and_keep_the_order_of_their_instrument(line: Line) -> None:
    features: list[dict[str, float | None]] = [
        {"score": 0.9},
        {"other": 1.0, "score": 0.5},
        {"other": 1.0},
        {"score": None},
        {"score": -0.9, "other": 1.0},
        {},
    ]
    await line.path.take([record(tick(n, features=each), n) for n, each in enumerate(features)])
    assert [each.event_time for each in line.signals] == [bar(n) for n in range(len(features))]
    assert [each.target_position for each in line.signals] == [1, 1, None, None, -1, None]
    assert sorted(batch.names for _, batch in line.answerer.asked) == sorted(
        [("score",), ("other", "score"), ("other",), ("score", "other"), ()]
    )


async def test_an_ensemble_that_does_not_answer_is_asked_again(line: Line, no_wait: None) -> None:
    line.answerer.absent = {"alpha": 3}
    await line.path.take([record(tick(0))])
    assert [name for name, _ in line.answerer.asked] == ["alpha"] * 4
    assert len(line.signals) == 1


@pytest.mark.parametrize("advance", [TTL / 3, TTL, 2 * TTL])
async def test_an_ensemble_that_does_not_answer_costs_the_others_nothing(
    line: Line, no_wait: None, advance: timedelta
) -> None:
    line.cover("alpha", "AAPL", "MSFT", gone=("AAPL",))
    line.answerer.on_absence = lambda: line.clock.advance(advance)
    await line.path.take([record(tick(0)), record(tick(0, ticker="MSFT"), 1)])
    assert line.skips == [("ttl", "gone")]
    assert [each.ticker for each in line.signals] == ["AAPL", "MSFT"]


@pytest.mark.parametrize("mode", ["live", "replay", "paper", "shadow"])
async def test_no_ensemble_is_waited_for_for_ever_and_what_it_did_not_answer_is_said(
    line: Line, no_wait: None, mode: Mode
) -> None:
    line.cover("gone", "AAPL")
    line.answerer.on_absence = lambda: line.clock.advance(timedelta(seconds=1))
    # However far ahead the producer's clock is.
    await line.path.take([record(tick(0, mode=mode, age=-1000 * TTL))])
    (skip,) = line.said(SIGNALS_BY_MODE[mode].name)
    assert isinstance(skip, TickSkipped)
    assert (skip.reason, skip.ensemble, skip.mode, skip.event_time) == ("ttl", "gone", mode, bar(0))
    assert len(line.answerer.asked) == asking.PATIENCE / timedelta(seconds=1)


async def test_one_that_did_not_answer_is_hardly_waited_for_until_it_answers_again(line: Line, no_wait: None) -> None:
    line.answerer.on_absence = lambda: line.clock.advance(timedelta(seconds=1))

    async def asks(hours: int, absent: int) -> int:
        before, line.answerer.absent = len(line.answerer.asked), {"alpha": absent}
        await line.path.take([record(tick(hours, mode="replay"), hours)])
        return len(line.answerer.asked) - before

    assert [await asks(0, 1000), await asks(1, 1000), await asks(2, 0), await asks(3, 1000)] == [20, 2, 1, 20]
    assert [each.event_time for each in line.said(SIGNALS_REPLAY.name) if isinstance(each, Signal)] == [bar(2)]


async def test_an_ensemble_that_hangs_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", timedelta(milliseconds=10))
    line.cover("alpha", "AAPL", beta=("AAPL",))
    line.answerer.hanging["beta"] = Hurdle()
    await line.path.take([record(tick(0))])
    assert [each.ensemble for each in line.signals] == ["alpha"]
    assert line.skips == [("ttl", "beta")]


async def test_what_one_ensemble_says_is_published_while_another_is_waited_for(line: Line) -> None:
    line.cover("alpha", "AAPL", beta=("AAPL",))
    line.answerer.hanging["beta"] = beta = Hurdle()
    stated = asyncio.Event()

    class Telling(FakePublisher):
        async def publish(self, records: Sequence[Outgoing]) -> None:
            await super().publish(records)
            if self.on(SIGNAL_STATE.name):
                stated.set()

    line.publisher = Telling()
    taking = asyncio.ensure_future(line.path_to(line.publisher).take([record(tick(0))]))
    await stated.wait()
    assert [each.ensemble for each in line.signals] == ["alpha"]
    beta.opened.set()
    await taking
    assert [each.ensemble for each in line.signals] == ["alpha", "beta"]


async def test_a_batch_that_is_broken_off_leaves_nobody_asking(line: Line) -> None:
    line.answerer.hanging["alpha"] = alpha = Hurdle()
    taking = asyncio.ensure_future(line.path.take([record(tick(0))]))
    await alpha.reached.wait()
    taking.cancel()
    await asyncio.wait({taking})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_tick_that_is_not_final_is_passed_over_and_the_final_one_is_answered(line: Line) -> None:
    # It may be of a bar that is yet to close.
    early = tick(event_time=NOW + timedelta(minutes=10)).model_copy(update={"is_final": False})
    await line.path.take([record(early), record(tick(0, -0.9).model_copy(update={"is_final": False}), 1)])
    assert line.publisher.batches == []
    await line.path.take([record(tick(0, 0.9), 2)])
    assert [each.signal for each in line.signals] == ["BUY"]


async def test_what_a_new_version_no_longer_covers_is_not_held_on(line: Line) -> None:
    await line.path.take([record(tick(0, 0.9))])
    line.answerer.uncovered = {"AAPL"}
    await line.path.take([record(tick(1, None), 1), record(tick(2, None), 2)])
    assert [(each.signal, each.target_position) for each in line.signals] == [("BUY", 1), ("SELL", 0), ("HOLD", 0)]
    assert {reason.code for each in line.signals[1:] for reason in each.reasons} >= {"not_covered"}


def left(ensemble: str, mode: Mode = "live") -> Version:
    """The version of a deleted ensemble that served last."""
    manifest = {
        "voting": "soft",
        "threshold": 0.7,
        "exit_threshold": 0.35,
        "horizon": 1,
        "session_policy": "hold",
        "trained_through": "2026-01-13T00:00:00Z",
    }
    proposed = vars(proposal("mine", ensemble, mode=mode, tickers=("AAPL", "MSFT"), manifest=manifest))
    return Version(
        **proposed,
        version=3,
        state=VersionState.SUPERSEDED,
        reasons=(),
        proposed_at=NOW,
        deployed_at=NOW,
        ended_at=NOW,
    )


async def test_a_deleted_ensemble_leaves_what_it_holds_with_the_next_tick_and_says_nothing_more(line: Line) -> None:
    await line.path.take([record(tick(0, 0.9)), record(tick(0, 0.1, ticker="MSFT"), 1)])
    line.routes.replace([Route("alpha", frozenset({"AAPL", "MSFT"}), "1h", "live", left("alpha"))])
    line.answerer.asked.clear()
    for hours in (1, 2):
        await line.path.take([record(tick(hours, 0.9)), record(tick(hours, 0.9, ticker="MSFT"), 1)])
    assert line.answerer.asked == []
    (flat,) = line.signals[2:]
    assert (flat.ticker, flat.event_time, flat.signal, flat.target_position) == ("AAPL", bar(1), "SELL", 0)
    assert (flat.ensemble, flat.version, flat.votes) == ("alpha", 3, ())
    assert [reason.code for reason in flat.reasons] == ["deleted", "not_covered"]
    line.cover("alpha", "AAPL")
    await line.path.take([record(tick(3, 0.9))])
    assert (line.signals[-1].signal, line.signals[-1].target_position) == ("BUY", 1)


async def test_a_flat_at_close_policy_leaves_no_position_over_the_close(line: Line) -> None:
    line.answerer.session_policy = "flat_at_close"
    # The calendar's sessions close at midnight, and a position decided at 22:00 would be held from 23:00 to midnight.
    await line.path.take([record(tick(hours, 0.9), hours) for hours in (21, 22, 23, 24, 25)])
    found = [(each.target_position, each.signal, [reason.code for reason in each.reasons]) for each in line.signals]
    assert found == [
        (1, "BUY", []),
        (1, "HOLD", []),
        (0, "SELL", ["flat_at_close"]),
        (0, "HOLD", ["flat_at_close"]),
        (1, "BUY", []),
    ]


async def test_the_calibration_moves_on_with_each_session_and_another_version_begins_with_its_own(line: Line) -> None:
    line.answerer.worth = Worth(0.0, (0.0, 1.0), (0.5, 0.7))
    hours = [(1, 0.9), (2, 0.1), (24, 0.9), (25, 0.9), (26, 0.8)]
    await line.path.take([record(tick(*each), offset) for offset, each in enumerate(hours)])
    first, second = line.signals[:3], line.signals[3:]
    assert [each.score for each in first] == [0.9, 0.1, 0.9]
    # One of twenty sessions has been lived: of its three votes one is below 0.9 and two are its like, one is below 0.8.
    assert [each.score for each in second] == pytest.approx([0.95 * 0.9 + 0.05 / 3, 0.95 * 0.8 - 0.05 / 3])
    assert [each.confidence for each in second] == [each.score for each in second]
    assert second[0].p_correct == pytest.approx(0.5 + 0.2 * second[0].confidence)
    assert [len({each.calibration_id for each in part}) for part in (first, second, line.signals)] == [1, 1, 2]
    line.answerer.calibration_id = "another"
    await line.path.take([record(tick(27, 0.9))])
    assert (line.signals[-1].score, line.signals[-1].calibration_id) == (0.9, "another")


async def test_what_costs_more_than_it_brings_is_judged_by_the_score_of_the_session(line: Line) -> None:
    line.answerer.worth = Worth(0.0004)
    await line.path.take([record(tick(1, 0.1))])
    # 7.2 basis points are expected for a round trip of 8.
    await line.path.take([record(tick(25, 0.72))])
    signal = line.signals[-1]
    assert (signal.signal, signal.score, signal.p_correct) == ("HOLD", 0.7, None)
    assert [reason.code for reason in signal.reasons] == ["edge_below_costs"]


async def test_a_batch_that_nobody_covers_publishes_nothing(line: Line) -> None:
    await line.path.take([record(tick(0, ticker="IBM"))])
    await line.path.take([])
    assert line.publisher.batches == []


@pytest.mark.parametrize(
    ("action", "score", "target"),
    [
        ("flatten", 0.9, 0),
        ("flatten", None, 0),
        ("reduce_only", 0.9, 1),
        ("reduce_only", -0.9, 0),
        ("reduce_only", None, None),
        ("halt_new", -0.9, 0),
        ("halt_new", 0.1, 0),
    ],
)
async def test_a_halt_leaves_of_a_position_that_is_held_what_it_allows(
    line: Line, action: Any, score: float | None, target: int | None
) -> None:
    await line.path.take([record(tick(0))])
    line.halts.effects["alpha"] = Effect(action, 7, "all", "enough")
    await line.path.take([record(tick(1, score))])
    held, restrained = line.signals
    assert (held.target_position, held.control_epoch) == (1, 0)
    assert (restrained.target_position, restrained.control_epoch) == (target, 7)
    assert restrained.reasons[-1].code == action


@pytest.mark.parametrize("action", ["flatten", "reduce_only", "halt_new"])
async def test_under_a_halt_nothing_is_opened_and_a_replay_says_what_would_have_been_said(
    line: Line, action: Any
) -> None:
    line.halts.effects["alpha"] = Effect(action, 7, "all", "enough")
    await line.path.take([record(tick(0)), record(tick(0, mode="replay"))])
    assert [each.target_position for each in line.signals] == [0]
    (replayed,) = line.said(SIGNALS_REPLAY.name)
    assert isinstance(replayed, Signal)
    assert (replayed.target_position, replayed.control_epoch) == (1, 0)


async def test_a_model_past_its_age_abstains_and_says_so(line: Line) -> None:
    path = line.path_to(line.publisher, most_age=timedelta(hours=25))
    await path.take([record(tick(1)), record(tick(2))])
    assert [(each.target_position, [reason.code for reason in each.reasons]) for each in line.signals] == [
        (1, []),
        (None, ["model_too_old"]),
    ]


async def test_how_far_a_feature_may_lie_outside_its_range_is_asked_with_the_batch(line: Line) -> None:
    await line.path_to(line.publisher, margin=0.5).take([record(tick(0))])
    assert [batch.margin for _, batch in line.answerer.asked] == [0.5]


async def test_the_pulse_is_told_the_newest_bars_that_were_answered_live_and_who_is_silent(
    line: Line, no_wait: None
) -> None:
    line.cover("alpha", "AAPL", paper=("AAPL",), mode="live")
    await line.path.take([record(tick(1)), record(tick(0, ticker="MSFT"), partition=3), record(tick(9, mode="replay"))])
    assert [(each.timeframe, each.event_time) for each in line.pulse.newest(0)] == [("1h", bar(1))]
    assert not line.pulse.degraded
    line.answerer.versions.clear()
    line.answerer.on_absence = lambda: line.clock.advance(timedelta(seconds=30))
    await line.path.take([record(tick(2))])
    assert line.pulse.degraded

"""However a stream of ticks is cut into batches, repeated or interrupted, each ensemble answers each bar once."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.calendar import calendar_named
from schemas.envelope import decode, read_headers
from schemas.signals import Signal
from schemas.topics import SIGNAL_STATE, SIGNALS_BY_MODE
from serving.rolling import Worth
from streams import delivery
from streams.delivery import AtLeastOnce
from streams.heartbeats import Pulse
from streams.memory import SignalMemory
from streams.publisher import Outgoing
from streams.routes import Route, Routes
from streams.source import Record
from streams.ticking import TickPath
from streams.triage import TickRules
from tests.unit.streams.fakes import (
    NOW,
    Clock,
    FakeAnswerer,
    FakePublisher,
    Halts,
    as_read,
    bar,
    in_batches,
    record,
    served,
    tick,
)

CALENDAR = calendar_named("24/7")
ROUTES = (
    Route("alpha", frozenset({"AAPL", "MSFT"}), "1h", "live"),
    Route("beta", frozenset({"AAPL"}), "1h", "paper"),
)
PARTITIONS = {"AAPL": 3, "MSFT": 12, "IBM": 5}
"""One of them beyond the partitions of signal-state: an operator may have made more for the ticks."""

LAST_HOUR = 40
"""The hours of the ticks lie in three sessions."""
WORTH = Worth(0.0, (0.2, 0.9), (0.5, 0.6))

scores = st.sampled_from([-1.0, -0.8, -0.5, -0.1, 0.0, 0.1, 0.5, 0.8, 1.0]) | st.none()
features = st.one_of(
    scores.map(lambda score: {"score": score}),
    st.builds(lambda score, other: {"other": other, "score": score}, scores, scores),
    st.builds(lambda score, other: {"score": score, "other": other}, scores, scores),
    st.just({"other": 0.5}),
)
ticks = st.builds(
    lambda hours, **fields: tick(hours, **fields),
    st.sampled_from([0, 1, 2, 24, 25, LAST_HOUR]),
    ticker=st.sampled_from(["AAPL", "AAPL", "MSFT", "IBM"]),
    revision=st.integers(0, 2),
    mode=st.sampled_from(["live", "live", "live", "replay"]),
    age=st.sampled_from([1, 1, 1, 3600]).map(lambda seconds: timedelta(seconds=seconds)),
    features=features,
)
ahead = st.builds(lambda ticker: tick(ticker=ticker, event_time=NOW + timedelta(hours=1)), st.sampled_from(["AAPL"]))
garbage = st.sampled_from([b"", b"\xff", b"{}", b"[1]", b'{"ticker": "AAPL"}', None])
streams = st.lists(ticks | ticks | ticks | ahead | garbage, max_size=25).map(
    lambda values: [
        record(value, offset, 0 if value is None or isinstance(value, bytes) else PARTITIONS[value.ticker])
        for offset, value in enumerate(values)
    ]
)
cuts = st.lists(st.integers(1, 24), max_size=8)


@dataclass
class Line:
    """A tick path and what it speaks to."""

    publisher: FakePublisher
    memory: SignalMemory
    path: TickPath

    @property
    def signals(self) -> list[Signal]:
        said = [each for topic in SIGNALS_BY_MODE.values() for each in self.publisher.on(topic.name)]
        return [decode(Signal, each.value) for each in said if read_headers(each.headers).type == Signal.TYPE]

    @property
    def dead(self) -> list[bytes | None]:
        return [each.value for each in self.publisher.on("feature-ticks.dlq")]

    @property
    def skips(self) -> list[str]:
        """What was skipped: which record for which ensemble, and why."""
        said = [each for topic in SIGNALS_BY_MODE.values() for each in self.publisher.on(topic.name)]
        return sorted(
            f"{envelope.message_id} {json.loads(each.value or b'')['reason']}"
            for each in said
            if (envelope := read_headers(each.headers)).type != Signal.TYPE
        )


def line(states: Sequence[Outgoing] = (), *, covering: Sequence[Route] = ROUTES) -> Line:
    """A line that finds these states on the topic."""
    routes = Routes()
    routes.replace(covering)
    publisher = FakePublisher()
    memory = SignalMemory(lambda partitions: [each for each in as_read(states) if each.partition in partitions])
    path = TickPath(
        answerer=FakeAnswerer({"alpha": served("alpha"), "beta": served("beta", mode="paper")}, worth=WORTH),
        routes=routes,
        memory=memory,
        delivery=AtLeastOnce(publisher, publisher),
        calendar=CALENDAR,
        rules=TickRules(ttl=timedelta(seconds=60)),
        controls=Halts(),
        pulse=Pulse(),
        clock=Clock(),
        source="/test",
    )
    memory.restore(list(PARTITIONS.values()))
    return Line(publisher, memory, path)


async def taken(batches: Sequence[Sequence[Record]], by: Line) -> None:
    for batch in batches:
        await by.path.take(batch)


def said(signals: Sequence[Signal]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The signals by ensemble, instrument and mode, in order; without when they were said."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for each in signals:
        content = each.model_dump(mode="json", exclude={"emitted_at"})
        found.setdefault((each.ensemble, each.ticker, each.mode), []).append(content)
    return found


@given(streams, cuts)
def test_the_signals_do_not_depend_on_where_the_batches_are_cut(stream: list[Record], at: list[int]) -> None:
    whole, cut = line(), line()
    asyncio.run(taken([stream], whole))
    asyncio.run(taken(list(in_batches(stream, at)), cut))
    assert said(cut.signals) == said(whole.signals)
    assert cut.dead == whole.dead
    assert cut.skips == whole.skips


@given(streams, cuts)
def test_each_covering_ensemble_answers_each_bar_that_moves_on_exactly_once(
    stream: list[Record], at: list[int]
) -> None:
    asked = line()
    asyncio.run(taken(list(in_batches(stream, at)), asked))
    newest: dict[tuple[str, str, str], tuple[Any, int]] = {}
    expected = []
    for each in stream:
        value = json.loads(each.value) if each.value and each.value.startswith(b'{"schema') else None
        if value is None or value["event_time"] > bar(LAST_HOUR).strftime("%Y-%m-%dT%H:%M:%S.%fZ"):
            continue
        for route in ROUTES:
            mode = route.mode if value["mode"] == "live" else value["mode"]
            place, moved = (route.ensemble, value["ticker"], mode), (value["event_time"], value["revision"])
            expired = value["mode"] == "live" and value["available_at"] < (NOW - timedelta(minutes=30)).isoformat()
            last = newest.get(place, ("", 0))
            # A replay may go back.
            moves = moved > last or (mode == "replay" and moved != last)
            if value["ticker"] in route.tickers and not expired and moves:
                newest[place] = moved
                expected.append((*place, *moved))
    found = [
        (each.ensemble, each.ticker, each.mode, each.event_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), each.revision)
        for each in asked.signals
    ]
    assert sorted(found) == sorted(expected)
    ids = Counter(each.id for each in asked.signals if each.mode != "replay")
    assert set(ids.values()) <= {1}


@given(streams, cuts, st.integers(0, 24), st.booleans())
def test_a_restart_from_the_published_states_changes_no_decision(
    stream: list[Record], at: list[int], restarted_at: int, compacted: bool
) -> None:
    without, first = line(), line()
    asyncio.run(taken(list(in_batches(stream, [*at, restarted_at])), without))
    asyncio.run(taken(list(in_batches(stream[:restarted_at], at)), first))
    states = first.publisher.on(SIGNAL_STATE.name)
    if compacted:
        states = list({state.key: state for state in states}.values())
    second = line(states)
    later = [cut - restarted_at for cut in at]
    asyncio.run(taken(list(in_batches(stream[restarted_at:], later)), second))
    both = said([*first.signals, *second.signals])
    assert both == said(without.signals)


@given(streams, cuts, st.sets(st.integers(1, 12)))
def test_a_broker_that_does_not_acknowledge_changes_nothing_of_what_is_said(
    stream: list[Record], at: list[int], refused: set[int]
) -> None:
    without, troubled = line(), line()
    batches = list(in_batches(stream, at))
    asyncio.run(taken(batches, without))
    troubled.publisher.refused = refused
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "RETRY_SECONDS", 0)
        asyncio.run(taken(batches, troubled))
    # Not even when it was said: nothing is decided twice.
    assert troubled.publisher.published == without.publisher.published


@given(streams, st.sampled_from(ROUTES))
def test_what_an_ensemble_says_does_not_depend_on_who_else_listens(stream: list[Record], listener: Route) -> None:
    among_others, alone = line(), line(covering=[listener])
    asyncio.run(taken([stream], among_others))
    asyncio.run(taken([stream], alone))
    expected = {place: each for place, each in said(among_others.signals).items() if place[0] == listener.ensemble}
    assert said(alone.signals) == expected


@given(streams)
def test_a_redelivered_stream_gives_no_second_signal(stream: list[Record]) -> None:
    # A replay that goes back begins anew: whoever follows it knows its signals by their ids.
    stream = [each for each in stream if b'"mode":"replay"' not in (each.value or b"")]
    once, twice = line(), line()
    asyncio.run(taken([stream], once))
    moved = [each._replace(offset=each.offset + 100) for each in stream]
    asyncio.run(taken([stream, moved], twice))
    assert said(twice.signals) == said(once.signals)


@example([record(tick(0), 0, PARTITIONS["AAPL"]), record(tick(1), 1, PARTITIONS["AAPL"])], [])
@given(streams, cuts)
def test_what_is_read_again_after_a_restart_is_late_only_where_it_was_before(
    stream: list[Record], at: list[int]
) -> None:
    first = line()
    asyncio.run(taken(list(in_batches(stream, at)), first))
    again = line(first.publisher.on(SIGNAL_STATE.name))
    asyncio.run(taken([stream], again))
    late, told = ({each for each in by.skips if each.endswith(" late")} for by in (first, again))
    assert told <= late

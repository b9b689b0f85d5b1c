"""Messages cross the wire unchanged, and the signal id names one tick of one ensemble."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.base import Instruction, Message, format_instant, parse_instant
from schemas.envelope import Undecodable, decode, encode
from schemas.faults import MOST_REASONS
from schemas.json_schema import message_file
from schemas.signals import signal_id
from schemas.topics import SEARCH_REQUESTS, TOPICS, Topic
from tests.examples import at_most
from tests.mutations import is_good
from tests.strategies import DOCUMENTS, MESSAGES, feature_ticks, instants, messages, search_requests, values

every_message = pytest.mark.parametrize("model", MESSAGES, ids=lambda model: model.TYPE)
few = at_most(25)


@every_message
@few
@given(draw=st.data())
def test_a_message_is_the_same_after_the_wire_and_keeps_to_its_schema(
    model: type[Message], draw: st.DataObject
) -> None:
    message = draw.draw(messages(model))
    value = encode(message)
    assert decode(model, value) == message
    assert is_good(DOCUMENTS[message_file(model)], value)
    assert set(json.loads(value)) == set(model.model_fields), "nulls and defaults are written"


@every_message
@few
@given(draw=st.data())
def test_unknown_fields_are_refused_in_instructions_and_ignored_elsewhere(
    model: type[Message], draw: st.DataObject
) -> None:
    value = encode(draw.draw(messages(model)))
    with_unknown = value.replace(b"{", b'{"not_a_field":[1],', 1)
    if issubclass(model, Instruction):
        with pytest.raises(Undecodable):
            decode(model, with_unknown)
    else:
        assert decode(model, with_unknown) == decode(model, value)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.messages is not None], ids=lambda t: t.name)
@few
@given(draw=st.data())
def test_a_topic_tells_its_messages_apart(topic: Topic, draw: st.DataObject) -> None:
    message = draw.draw(st.one_of([messages(model) for model in topic.models]))
    assert decode(topic.messages, encode(message)) == message


@few
@given(request=search_requests(), tick=feature_ticks())
def test_messages_are_frozen(request: Message, tick: Message) -> None:
    for message in (request, tick):
        with pytest.raises(ValidationError):
            setattr(message, "schema_version", 1)  # noqa: B010


@given(instants)
def test_a_time_is_written_in_utc_with_microseconds_and_means_the_same(text: str) -> None:
    written = format_instant(parse_instant(text))
    assert written.endswith("Z")
    assert len(written) == len("2026-01-15T21:00:00.000000Z")
    assert parse_instant(written) == parse_instant(text) == datetime.fromisoformat(text)
    assert format_instant(parse_instant(written)) == written


@pytest.mark.parametrize("moment", [datetime(2026, 1, 15), datetime(1899, 12, 31, tzinfo=UTC)])  # noqa: DTZ001
def test_a_time_without_offset_or_out_of_range_is_refused(moment: datetime) -> None:
    with pytest.raises(ValueError):
        parse_instant(moment)


GOLDEN_ID = "e35a9080be0e8c0cb39255b75df9d0b9"
Tick = tuple[str, str, str, datetime, int, str]
ticks: st.SearchStrategy[Tick] = st.tuples(
    st.sampled_from(["bot", "bot_v1", "b"]),
    st.sampled_from(["AAPL", "MSFT", "A"]),
    st.sampled_from(["1d", "5m", "1h"]),
    st.sampled_from([datetime(2026, 1, 15, 21, tzinfo=UTC), datetime(2026, 1, 15, 21, 0, 0, 1, tzinfo=UTC)]),
    st.integers(0, 30),
    st.sampled_from(["live", "replay", "shadow", "paper"]),
)


def test_the_signal_id_of_a_known_tick_never_changes() -> None:
    when = datetime(2026, 1, 15, 21, tzinfo=UTC)
    assert signal_id("trading_bot_v1", "AAPL", "1d", when, 0, "live") == GOLDEN_ID


@given(tick=ticks, text=st.sampled_from(["2026-01-15T21:00:00Z", "2026-01-15T16:00:00-05:00"]))
def test_the_signal_id_is_the_same_however_the_time_is_written(tick: Tick, text: str) -> None:
    ensemble, ticker, timeframe, _, revision, mode = tick
    when = datetime(2026, 1, 15, 21, tzinfo=UTC)
    expected = signal_id(ensemble, ticker, timeframe, when, revision, mode)
    assert signal_id(ensemble, ticker, timeframe, parse_instant(text), revision, mode) == expected


@given(st.sets(ticks, min_size=2, max_size=50))
def test_signal_ids_of_different_ticks_differ(found: set[Tick]) -> None:
    assert len({signal_id(*tick) for tick in found}) == len(found)


@at_most(100)
@given(value=values({"type": "object", "additionalProperties": {"type": "null"}}) | st.integers() | st.text())
def test_every_refusal_has_bounded_reasons(value: object) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(SEARCH_REQUESTS.messages, json.dumps(value).encode())
    assert 1 <= len(caught.value.reasons) <= MOST_REASONS + 1
    assert str(caught.value)

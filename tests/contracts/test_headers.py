"""CloudEvents headers and trace context: written in full, read with patience."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Message
from schemas.envelope import Envelope, headers_of, read_headers
from schemas.trace_context import TraceContext, begin_trace, child_of, parse_traceparent, trace_id_of
from tests.strategies import MESSAGES

WHEN = datetime(2026, 1, 15, 21, 0, 0, 123456, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
some_bytes = st.binary(max_size=300) | st.sampled_from([b"2026-01-15T21:00:00Z", TRACEPARENT.encode(), b"1.0", b""])
names = st.sampled_from(["ce_id", "ce_type", "ce_source", "ce_time", "traceparent", "content-type", "CE_ID", "x"])
spans = st.binary(min_size=8, max_size=8).filter(any)
traces = st.builds(lambda one, two: one + two, st.binary(min_size=16, max_size=16).filter(any), spans)


@pytest.mark.parametrize("model", MESSAGES, ids=lambda model: model.TYPE)
def test_the_headers_are_those_of_cloudevents_in_binary_mode(model: type[Message]) -> None:
    message = model.model_construct()
    found = headers_of(message, message_id="m1", source="/orchestrator", time=WHEN, traceparent=TRACEPARENT)
    assert found == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"m1"),
        ("ce_type", model.TYPE.encode()),
        ("ce_source", b"/orchestrator"),
        ("ce_time", b"2026-01-15T21:00:00.123456Z"),
        ("content-type", b"application/json"),
        ("traceparent", TRACEPARENT.encode()),
    ]
    assert read_headers(found) == Envelope(
        message_id="m1",
        type=model.TYPE,
        source="/orchestrator",
        time=WHEN,
        trace=TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1),
    )


def test_without_a_trace_there_is_no_traceparent() -> None:
    found = headers_of(MESSAGES[0].model_construct(), message_id="m1", source="/s", time=WHEN)
    assert "traceparent" not in dict(found)


@pytest.mark.parametrize("headers", [None, [], [("ce_id", None)], [("ce_id", b"\xff"), ("ce_time", b"yesterday")]])
def test_absent_and_malformed_headers_are_tolerated(headers: list[tuple[str, bytes | None]] | None) -> None:
    assert read_headers(headers) == Envelope()


@given(st.lists(st.tuples(names, some_bytes | st.none()), max_size=8))
def test_no_headers_whatever_raise(headers: list[tuple[str, bytes | None]]) -> None:
    found = read_headers(headers)
    assert found.message_id is None or found.message_id.isprintable()


def test_the_last_of_a_repeated_header_counts() -> None:
    assert read_headers([("ce_id", b"one"), ("ce_id", b"two")]).message_id == "two"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACEPARENT.upper(),
        TRACEPARENT + "-extra",
        TRACEPARENT[:-1],
        " " + TRACEPARENT,
        TRACEPARENT + "\n",
        TRACEPARENT.replace("00-4", "ff-4", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_a_malformed_traceparent_is_none(text: str) -> None:
    assert parse_traceparent(text) is None
    assert trace_id_of(text) is None


def test_a_traceparent_of_a_later_version_is_read_by_its_first_fields() -> None:
    assert str(parse_traceparent(TRACEPARENT.replace("00-4", "01-4", 1) + "-more")) == TRACEPARENT


@given(random=traces, span=spans)
def test_a_child_stays_in_its_trace(random: bytes, span: bytes) -> None:
    begun = begin_trace(random)
    child = child_of(begun, span)
    assert parse_traceparent(str(begun)) == begun
    assert parse_traceparent(str(child)) == child
    assert trace_id_of(str(child)) == begun.trace_id == random[:16].hex()
    assert child.span_id == span.hex()


@pytest.mark.parametrize("random", [b"", b"x" * 23, b"\0" * 24, b"\0" * 16 + b"x" * 8])
def test_a_trace_does_not_begin_with_too_few_bytes_or_zeros(random: bytes) -> None:
    with pytest.raises(ValueError):
        begin_trace(random)
    with pytest.raises(ValueError):
        child_of(TraceContext("1" * 32, "1" * 16), b"\0" * 8)

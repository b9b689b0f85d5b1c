"""A dead letter keeps the original whole, says why, and always fits its topic."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import Reason
from schemas.dead_letter import (
    DEAD_LETTER_HEADERS,
    MOST_REASON_BYTES,
    dead_letter_headers,
    original_headers,
    read_dead_letter,
)
from schemas.envelope import Undecodable
from schemas.topics import DEAD_LETTER_MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES

WHEN = datetime(2026, 1, 15, 21, tzinfo=UTC)
LARGEST_TOPIC_NAME = 249
PER_HEADER = 10
"""Two lengths of at most five bytes."""
PER_RECORD = 61 + 5 + 1 + 10 + 5 + 5 + 5 + 5
"""The batch's header; the record's length, attributes, timestamp and offset deltas, and the lengths of its parts."""
Headers = list[tuple[str, bytes | None]]
headers = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9) | st.none()), max_size=5)
plain = st.text(st.characters(codec="utf-8"), max_size=300)
reasons = st.builds(
    Reason,
    code=st.sampled_from(["schema", "not_json"]),
    where=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=256),
    message=plain,
)


def letter(original: Headers | None, found: list[Reason], topic: str = "search-requests") -> Headers:
    return dead_letter_headers(original, reasons=found, topic=topic, partition=3, offset=2**62, time=WHEN)


@settings(deadline=None)
@given(original=headers, found=st.lists(reasons, max_size=40))
def test_a_dead_letter_is_read_as_it_was_written(original: Headers, found: list[Reason]) -> None:
    read = read_dead_letter(letter(original, found))
    assert read.reasons == tuple(found)
    assert (read.topic, read.partition, read.offset, read.time) == ("search-requests", 3, 2**62, WHEN)
    assert read.headers == [header for header in original if header[0] not in DEAD_LETTER_HEADERS]


@given(original=headers, found=st.lists(reasons, max_size=5))
def test_a_letter_that_dies_again_is_not_wrapped_twice(original: Headers, found: list[Reason]) -> None:
    again = letter(letter(original, found), [])
    assert [name for name, _ in again].count("dlq_reason") == 1
    assert original_headers(again) == original_headers(original)
    assert read_dead_letter(again).reasons == ()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("text", ["x" * 4096, "\x01" * 4096, "😀" * 4096])
def test_reasons_are_cut_and_the_rest_counted(count: int, text: str) -> None:
    found = [Reason(code="schema", where="w" * 256, message=text)] * count
    [value] = [value for name, value in letter(None, found) if name == "dlq_reason"]
    assert value is not None
    assert len(value) <= MOST_REASON_BYTES
    kept = read_dead_letter(letter(None, found)).reasons
    if kept != tuple(found):
        assert kept[:-1] == tuple(found[: len(kept) - 1])
        assert kept[-1].message.startswith(f"{count - len(kept) + 1} more")


def test_the_largest_original_fits_with_its_reasons() -> None:
    worst = letter(None, [Reason(code="schema", message="😀" * 4096)] * 1000, topic="t" * LARGEST_TOPIC_NAME)
    added = sum(len(name) + len(value or b"") + PER_HEADER for name, value in worst)
    assert MAX_MESSAGE_BYTES + added + PER_RECORD < DEAD_LETTER_MAX_MESSAGE_BYTES


@pytest.mark.parametrize("name", DEAD_LETTER_HEADERS)
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"-1", b"[1]", b"1" * 30])
def test_a_record_with_a_missing_or_malformed_header_is_no_dead_letter(name: str, value: bytes | None) -> None:
    if name == "dlq_topic" and value not in (None, b"\xff"):
        return
    broken = [(other, value if other == name else kept) for other, kept in letter(None, [])]
    with pytest.raises(Undecodable) as caught:
        read_dead_letter(broken)
    assert caught.value.reasons[0].code == "not_a_dead_letter"
    with pytest.raises(Undecodable):
        read_dead_letter(None)

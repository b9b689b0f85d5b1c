from schemas.base import Reason
from schemas.dead_letter import read_dead_letter
from streams.dead_letters import dead_letter
from streams.source import Record
from tests.unit.streams.fakes import NOW

REASONS = (Reason(code="broken", where="/x", message="it broke"),)


def test_a_dead_letter_is_the_record_as_it_came_with_why_and_whence() -> None:
    record = Record("feature-ticks", 3, 17, b"\x00key", b"\xff\xfe", (("producer", b"test"), ("empty", None)))
    letter = dead_letter(record, REASONS, NOW)
    assert (letter.topic, letter.key, letter.value, letter.partition) == (
        "feature-ticks.dlq",
        b"\x00key",
        b"\xff\xfe",
        None,
    )
    read = read_dead_letter(letter.headers)
    assert (read.reasons, read.topic, read.partition, read.offset, read.time) == (REASONS, "feature-ticks", 3, 17, NOW)
    assert read.headers == [("producer", b"test"), ("empty", None)]


def test_a_record_without_key_value_and_headers_is_kept_too() -> None:
    letter = dead_letter(Record("feature-ticks", 0, 0, None, None), REASONS, NOW)
    assert (letter.key, letter.value) == (None, None)
    assert read_dead_letter(letter.headers).headers == []

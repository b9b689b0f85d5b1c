"""The JSON Schema is the whole truth: the decoder and an independent validator give the same verdict on any bytes."""

from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import Undecodable, decode
from schemas.json_schema import topic_file
from schemas.topics import TOPICS, Topic
from tests.mutations import NESTING_LIMIT, is_good, mutants
from tests.strategies import DOCUMENTS, Document, records

pytestmark = pytest.mark.slow

READ = [topic for topic in TOPICS if topic.consumed]
topics_read = pytest.mark.parametrize("topic", READ, ids=lambda topic: topic.name)


def is_decodable(model: object, value: bytes | None) -> bool:
    try:
        decode(model, value)
    except Undecodable:
        return False
    return True


def document_of(topic: Topic) -> Document:
    return DOCUMENTS[topic_file(topic)]


@topics_read
@settings(max_examples=150, deadline=None)
@given(draw=st.data(), seed=st.integers(0, 2**32))
def test_the_decoder_accepts_a_mutant_if_and_only_if_the_schema_does(
    topic: Topic, draw: st.DataObject, seed: int
) -> None:
    value = draw.draw(records(topic))
    assert is_good(document_of(topic), value)
    for mutant in islice(mutants(Random(seed), [value]), 20):
        assert is_decodable(topic.messages, mutant) == is_good(document_of(topic), mutant), mutant


@topics_read
@settings(max_examples=200, deadline=None)
@given(value=st.binary(max_size=200))
def test_random_bytes_get_the_same_verdict(topic: Topic, value: bytes) -> None:
    assert is_decodable(topic.messages, value) == is_good(document_of(topic), value)


CANCEL = b'{"command":"cancel","command_id":"c1","issued_at":"2026-01-15T21:00:00Z","experiment":"e1"%s}'
TICK = (
    b'{"ticker":"AAPL","timeframe":"1d","event_time":"2026-01-15T21:00:00Z",'
    b'"available_at":"2026-01-15T21:00:00Z","features":{}%s}'
)
COMMANDS, TICKS = READ[1], READ[3]


@pytest.mark.parametrize(
    ("topic", "value", "verdict"),
    [
        (COMMANDS, CANCEL % b"", True),
        (COMMANDS, b"\n " + CANCEL % b"" + b"\r\n", True),
        (COMMANDS, CANCEL % b',"schema_version":1.0', True),
        (COMMANDS, CANCEL % b',"schema_version":true', False),
        (COMMANDS, CANCEL % b',"schema_version":2', False),
        (COMMANDS, CANCEL % b',"schema_version":2,"schema_version":1', True),
        (COMMANDS, CANCEL % b',"unknown":1', False),
        (COMMANDS, CANCEL.replace(b'"command":"cancel",', b"") % b"", False),
        (COMMANDS, CANCEL.replace(b"2026-01-15T21:00:00Z", b"2026-02-30T21:00:00Z") % b"", False),
        (COMMANDS, CANCEL.replace(b"2026-01-15T21:00:00Z", b"2026-01-15T21:00:60Z") % b"", False),
        (COMMANDS, b"\xef\xbb\xbf" + CANCEL % b"", False),
        (COMMANDS, CANCEL % b"" + b"{}", False),
        (COMMANDS, CANCEL % b',"actor":"\\ud800"', False),
        (COMMANDS, CANCEL % b',"actor":"\\u0000"', False),
        (COMMANDS, CANCEL % b',"actor":"\\ud83d\\ude00"', True),
        (TICKS, TICK % b"", True),
        (TICKS, TICK % b',"unknown":[1,{"a":null}]', True),
        (TICKS, TICK % b',"unknown":NaN', False),
        (TICKS, TICK % b',"unknown":1e400', True),
        (TICKS, TICK % b',"price":1e400', False),
        (TICKS, TICK % b',"price":0', False),
        (TICKS, TICK % b',"revision":1.0', True),
        (TICKS, TICK % b',"revision":1.5', False),
        (TICKS, TICK.replace(b"{}", b'{"rsi_14":null,"macd":-1e-3}') % b"", True),
        (TICKS, TICK.replace(b"{}", b'{"rsi 14":1}') % b"", False),
        (TICKS, TICK.replace(b"{}", b'{"a":"x","a":1}') % b"", True),
        (TICKS, TICK % (b',"unknown":' + b"[" * NESTING_LIMIT + b"]" * NESTING_LIMIT), True),
        (TICKS, TICK % (b',"unknown":' + b"[" * NESTING_LIMIT + b"0" + b"]" * NESTING_LIMIT), False),
        (TICKS, b"", False),
        (TICKS, b"null", False),
        (TICKS, b"[]", False),
    ],
)
def test_a_known_hard_case_is_judged_as_the_contract_says(topic: Topic, value: bytes, verdict: bool) -> None:
    assert is_decodable(topic.messages, value) == verdict
    assert is_good(document_of(topic), value) == verdict


def test_a_tombstone_is_no_message() -> None:
    assert not is_decodable(COMMANDS.messages, None)

"""The tick path's codec is held to the schemas: what it reads and writes, the models read, with the same values."""

from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from schemas import codec
from schemas.base import Reason
from schemas.codec import WireSignal, WireVote, read_tick, wire_reasons, write_signal
from schemas.envelope import Undecodable, decode, encode
from schemas.signals import Signal, Vote
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS
from tests.mutations import mutants
from tests.strategies import records

PLACES = [name for name, each in vars(codec.Tick).items() if isinstance(each, property)]


def judged(read: Any, value: bytes) -> tuple[Any, ...] | None:
    """What is read, as far as the tick path needs it; None: it is refused."""
    try:
        tick = read(value)
    except Undecodable:
        return None
    return tuple(repr(getattr(tick, name)) for name in PLACES)


def by_model(value: bytes) -> FeatureTick:
    tick: FeatureTick = decode(FeatureTick, value)
    return tick


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(value=records(FEATURE_TICKS), seed=st.integers(0, 2**32))
def test_ticks_and_their_mutants_are_read_as_the_model_reads_them(value: bytes, seed: int) -> None:
    for each in (value, *islice(mutants(Random(seed), [value]), 20)):
        assert judged(read_tick, each) == judged(by_model, each), each


TICK = b'{"ticker":"%s","timeframe":"1d","event_time":"%s","available_at":"2026-01-15T21:00:00Z","features":{%s}%s}'
AT = b"2026-01-15T21:00:00.000000Z"


@pytest.mark.parametrize(
    "value",
    [
        TICK % (b"AAPL", AT, b"", b""),
        TICK % (b"AAPL", b"2026-01-15T16:00:00-05:00", b'"a":1', b""),
        TICK % (b"AAPL", b"2026-W03-4T21:00:00.000000Z", b"", b""),
        TICK % (b"AAPL", b"2026-01-15 21:00:00.000000Z", b"", b""),
        TICK % (b"AAPL", b"2026-01-15T24:00:00.000000Z", b"", b""),
        TICK % (b"AAPL\\n", AT, b"", b""),
        TICK % (b"", AT, b"", b""),
        TICK % (b"AAPL", AT, b'"a":1e400', b""),
        TICK % (b"AAPL", AT, b'"a":NaN', b""),
        TICK % (b"AAPL", AT, b'"a":null,"a":2', b""),
        TICK % (b"AAPL", AT, b'"a":-0.0,"b":12345678901234567890123', b""),
        TICK % (b"AAPL", AT, b'"a":"1"', b""),
        TICK % (b"AAPL", AT, b'"a b":1', b""),
        TICK % (b"AAPL", AT, b'"a":1', b',"revision":3.0'),
        TICK % (b"AAPL", AT, b'"a":1', b',"revision":-1'),
        TICK % (b"AAPL", AT, b'"a":1', b',"revision":1000000001'),
        TICK % (b"AAPL", AT, b'"a":1', b',"revision":true'),
        TICK % (b"AAPL", AT, b'"a":1', b',"price":0'),
        TICK % (b"AAPL", AT, b'"a":1', b',"price":1e-300,"bid":-1'),
        TICK % (b"AAPL", AT, b'"a":1', b',"schema_version":1.0'),
        TICK % (b"AAPL", AT, b'"a":1', b',"schema_version":2'),
        TICK % (b"AAPL", AT, b'"a":1', b',"unknown":"\xff"'),
        TICK % (b"AAPL", AT, b'"a":1', b',"unknown":[1,{"a":null}]'),
        TICK % (b"AAPL", AT, b'"a":1', b',"mode":"dream"'),
        TICK % (b"AAPL", AT, b'"a":1', b',"is_final":1'),
        TICK % (b"AAPL", AT, b'"a":1', b',"feature_set":"a b"'),
        TICK % (b"AAPL", AT, b'"a":1', b',"sequence":9007199254740992'),
        b"\xef\xbb\xbf" + TICK % (b"AAPL", AT, b"", b""),
        TICK % (b"AAPL", AT, b"", b"") + b"{}",
        b"",
        b"[]",
    ],
)
def test_where_json_is_read_in_different_ways_the_codec_reads_as_the_model_does(value: bytes) -> None:
    assert judged(read_tick, value) == judged(by_model, value)


def test_no_value_is_no_tick() -> None:
    with pytest.raises(Undecodable):
        read_tick(None)


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=40).filter(lambda text: "\0" not in text and text.isprintable())


@given(numbers, st.floats(-1, 1), texts, st.booleans())
def test_a_signal_is_read_by_the_model_with_every_value(figure: float, share: float, said: str, abstains: bool) -> None:
    reasons = (Reason(code="said", where=said, message=said),)
    wire = WireSignal(
        id="0" * 32,
        ensemble="bot",
        version=3,
        ticker="AAPL",
        timeframe="1d",
        event_time=AT.decode(),
        revision=1,
        supersedes="1" * 32,
        emitted_at=AT.decode(),
        valid_until=AT.decode(),
        signal="HOLD",
        target_position=None if abstains else -1,
        confidence=abs(share),
        score=None if abstains else share,
        p_correct=None if abstains else abs(share),
        edge_bps=figure,
        num_models=1,
        voting_method="soft",
        votes=[WireVote("t1", "BUY", share, abs(share), figure)],
        model_age=abs(figure),
        gate="passed",
        mode="live",
        reasons=wire_reasons(reasons),
        experiment=None,
        calibration_id="c",
        control_epoch=7,
    )
    read = decode(Signal, write_signal(wire))
    assert read.reasons == reasons
    assert (read.edge_bps, read.model_age, read.score) == (figure, abs(figure), wire.score)
    assert read.votes == (
        Vote(member="t1", vote="BUY", strength=share, confidence=abs(share), predicted_return=figure),
    )
    assert decode(Signal, encode(read)) == read


def test_what_is_written_has_every_field_of_the_model() -> None:
    assert {each.name for each in fields(WireSignal)} == set(Signal.model_fields)
    assert {each.name for each in fields(WireVote)} == set(Vote.model_fields)

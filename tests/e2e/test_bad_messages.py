"""Ten thousand random and mutated byte strings among a hundred good messages: none is lost, and none harms another."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

import pytest

from schemas.dead_letter import read_dead_letter
from schemas.envelope import decode, encode
from schemas.json_schema import json_schemas
from schemas.signals import Signal, signal_id
from schemas.ticks import FeatureTick
from schemas.topics import EXPERIMENT_EVENTS, FEATURE_TICKS, SEARCH_REQUESTS, SIGNALS, dead_letter_topic
from streams.replay import tick_of
from tests.mutations import is_good, mutants
from tests.service import TICKERS, Service, is_signal_of, request

pytestmark = pytest.mark.slow

BAD_EACH = 5000
GOOD_EACH = 50
SEED = 20260115
KEY = b"fuzz"


def bad(rng: Random, schema: str, good: list[bytes]) -> list[bytes]:
    """Mutants of good messages that an independent validator refuses."""
    document = json_schemas()[schema]
    return list(islice((value for value in mutants(rng, good) if not is_good(document, value)), BAD_EACH))


def mixed(rng: Random, good: list[bytes], spoilt: list[bytes]) -> list[tuple[bytes, bytes]]:
    """All of them in a random order, the good ones in their own."""
    places = set(rng.sample(range(len(good) + len(spoilt)), len(good)))
    ordered, strange = iter(good), iter(spoilt)
    return [(KEY, next(ordered) if place in places else next(strange)) for place in range(len(good) + len(spoilt))]


def test_the_dead_letters_hold_exactly_the_bad_ones_and_all_good_ones_take_effect(service: Service) -> None:
    rng = Random(SEED)
    deploy = {"auto": True, "ensemble_name": "fuzz", "top_n": 1, "gate": False}
    story = service.follow(service.ask(**request(service, "fuzz-founder", deploy=deploy)), deploys=True)
    assert story.succeeded, story.reasons

    small = {"tickers": ["IBM"], "param_grid": {"alpha": [0.01], "l1_ratio": [0.5]}}
    ids = [f"fuzz-{number:03}" for number in range(GOOD_EACH)]
    requests = [json.dumps(request(service, each, **small)).encode() for each in ids]
    (bars,) = (bars for bars in service.bars() if bars.ticker == TICKERS[0])
    # Ten thousand messages take a while, and none of the good ones may be too old by then.
    available = datetime.now(UTC) + timedelta(minutes=5)
    ticks = [encode(tick_of(bars, row, available)) for row in range(GOOD_EACH)]
    bad_requests = bad(rng, "search.requested.schema.json", requests)
    bad_ticks = bad(rng, "feature.tick.schema.json", ticks)

    service.produce(FEATURE_TICKS, mixed(rng, ticks, bad_ticks))
    service.produce(SEARCH_REQUESTS, mixed(rng, requests, bad_requests))

    for topic, spoilt in ((FEATURE_TICKS, bad_ticks), (SEARCH_REQUESTS, bad_requests)):
        letters = service.await_records(dead_letter_topic(topic), BAD_EACH, lambda record: record.key == KEY)
        assert Counter(letter.value for letter in letters) == Counter(spoilt)
        assert all(read_dead_letter(letter.headers).reasons for letter in letters)

    settled = [
        decode(EXPERIMENT_EVENTS.messages, record.value)
        for record in service.await_records(
            EXPERIMENT_EVENTS,
            GOOD_EACH,
            lambda record: any(
                mark in (record.value or b"") for mark in (b'"event":"accepted"', b'"event":"duplicate"')
            ),
        )
    ]
    assert sorted(each.request_id for each in settled if each.request_id in ids) == ids

    wanted = {
        signal_id("fuzz", tick.ticker, tick.timeframe, tick.event_time, tick.revision, tick.mode)
        for tick in (decode(FeatureTick, value) for value in ticks)
    }
    found = service.await_records(SIGNALS, GOOD_EACH, lambda record: is_signal_of(record, "fuzz"))
    answered = [decode(Signal, record.value).id for record in found]
    assert sorted(answered) == sorted(wanted)

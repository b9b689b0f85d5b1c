"""What the feed of events makes of records, without a broker."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer

from schemas.control import Lift
from schemas.envelope import encode
from schemas.topics import CONTROL
from streams.feed import KafkaFeed
from tests.support.faces import NOW


class _OneRecord:
    """As much of a consumer as one turn takes: a lift, produced at a time of its producer's."""

    def __init__(self, milliseconds: int) -> None:
        value = encode(Lift(scope="all", epoch=1, actor="test", issued_at=NOW))
        told: dict[str, Any] = {
            "error": None,
            "topic": CONTROL.name,
            "partition": 0,
            "offset": 0,
            "key": b"all",
            "value": value,
            "timestamp": (1, milliseconds),
        }
        self._record = SimpleNamespace(**{name: lambda said=said: said for name, said in told.items()})

    def poll(self, timeout: float) -> SimpleNamespace:
        return self._record

    def consume(self, size: int, timeout: float) -> list[SimpleNamespace]:
        return []

    def get_watermark_offsets(self, place: object, *, cached: bool) -> tuple[int, int]:
        return 0, 1


@pytest.mark.parametrize(("milliseconds", "year"), [(2**62, 9999), (1_768_510_800_000, 2026), (-1, 1970)])
def test_a_record_of_whatever_time_is_taken(milliseconds: int, year: int) -> None:
    """Whoever may produce may say any time: the feed goes on."""
    watched = KafkaFeed({}, [CONTROL])
    watched._take(cast(Consumer, _OneRecord(milliseconds)))
    (event,) = watched.recent([CONTROL.name], 10)
    assert (event.key, event.at.year) == ("all", year)


def test_a_record_is_decoded_once_however_many_look_at_it() -> None:
    watched = KafkaFeed({}, [CONTROL])
    watched._take(cast(Consumer, _OneRecord(1_768_510_800_000)))
    assert watched.recent([CONTROL.name], 10)[0] is watched.recent([CONTROL.name], 10)[0]

"""Where a reader begins, told by a consumer that is none."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from schemas.topics import TRIAL_EVENTS
from streams import reader
from streams.reader import TopicReader

SINCE = datetime(2026, 1, 15, tzinfo=UTC)


class FakeConsumer:
    """Two partitions that end at 5 and 7; of the time asked for, only the first has a record, its third."""

    fault: KafkaError | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self.began: dict[int, int] = {}
        self.closed = False

    def list_topics(self, name: str, timeout: float) -> Any:
        return SimpleNamespace(topics={name: SimpleNamespace(error=self.fault, partitions={0: None, 1: None})})

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        self.asked.append("ends")
        return 0, 5 if place.partition == 0 else 7

    def offsets_for_times(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked.append("times")
        assert {place.offset for place in places} == {int(SINCE.timestamp() * 1000)}
        return [TopicPartition(each.topic, each.partition, OFFSET_END if each.partition else 2) for each in places]

    def assign(self, places: Sequence[TopicPartition]) -> None:
        self.began = {place.partition: place.offset for place in places}

    def poll(self, timeout: float) -> None:
        """Nothing comes, not even an end."""

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[FakeConsumer]:
    """Those that readers made."""
    made: list[FakeConsumer] = []

    def make(config: dict[str, Any]) -> FakeConsumer:
        made.append(FakeConsumer(config))
        return made[-1]

    monkeypatch.setattr(reader, "Consumer", make)
    return made


def test_where_nothing_is_that_young_it_begins_at_the_end_as_it_was_before_it_asked(
    consumers: list[FakeConsumer],
) -> None:
    with TopicReader({}, [TRIAL_EVENTS], since=SINCE):
        (consumer,) = consumers
        assert consumer.began == {0: 2, 1: 7}
        assert consumer.asked == ["ends", "ends", "times"]
    assert consumer.closed


def test_without_a_time_it_begins_at_the_beginning(consumers: list[FakeConsumer]) -> None:
    with TopicReader({}, [TRIAL_EVENTS]):
        assert consumers[0].began == {0: OFFSET_BEGINNING, 1: OFFSET_BEGINNING}


def test_an_end_that_does_not_come_is_an_error_for_who_has_no_more_patience(consumers: list[FakeConsumer]) -> None:
    with TopicReader({}, [TRIAL_EVENTS]) as found:
        assert found.partitions == {0, 1}
        with pytest.raises(KafkaException) as error:
            found.read_to_end(patience=0)
    assert error.value.args[0].code() == KafkaError._TIMED_OUT


def test_a_reader_that_cannot_begin_leaves_no_consumer_behind(
    consumers: list[FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConsumer, "fault", KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(KafkaException), TopicReader({}, [TRIAL_EVENTS]):
        pass
    assert consumers[0].closed

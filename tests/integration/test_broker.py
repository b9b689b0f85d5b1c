"""The embedded broker, and the contract's topics on any broker."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topics import CONTROL, SEARCH_REQUESTS, TOPICS, Topic
from streams import kafka
from streams.child import alive
from streams.run_folder import RunFolder
from tests.broker import embedded_broker
from tests.waiting import eventually

pytestmark = pytest.mark.slow

PLACE = ("kept", 0)
STARTER = """
import os, pathlib, sys
from tests.broker import embedded_broker
with embedded_broker(pathlib.Path(sys.argv[1])) as config:
    print(config["bootstrap.servers"], flush=True)
    input()
"""


def create(config: dict[str, Any], *names: str) -> None:
    admin = AdminClient(config)
    for created in admin.create_topics([NewTopic(name, 1) for name in names]).values():
        created.result(30)


def produce(config: dict[str, Any], *values: bytes, topic: str = PLACE[0]) -> None:
    producer = Producer(config | {"acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(config: dict[str, Any], count: int) -> list[bytes | None]:
    consumer = Consumer(config | {"group.id": "a-test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(*PLACE, 0)])
    try:
        return [message.value() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


def test_what_zstd_needs_is_unpacked_before_the_broker_starts(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as config:
        create(config, PLACE[0])
        # Kafka would unpack it here when it is first used; where it cannot just then, never again.
        shutil.rmtree(RunFolder(tmp_path).kafka / "tmp")
        produce(config | {"compression.type": "zstd", "linger.ms": 100}, *[b"alike" * 1000] * 10)
        assert consume(config, 10) == [b"alike" * 1000] * 10


def test_a_broker_finds_its_data_and_its_port_again_after_a_restart(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as before:
        create(before, PLACE[0])
        produce(before, b"one", b"two")
    with embedded_broker(tmp_path) as after:
        assert after == before
        produce(after, b"three")
        assert consume(after, 3) == [b"one", b"two", b"three"]
    assert not (tmp_path / "kafka" / "tmp").exists()


def test_a_broker_dies_with_its_starter_that_is_killed_and_has_lost_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        config = {"bootstrap.servers": starter.stdout.readline().strip()}
        record = RunFolder(tmp_path).running("broker")
        assert record is not None
        broker = psutil.Process(record.pid)
        create(config, PLACE[0])
        produce(config, b"acknowledged")
        starter.kill()
    eventually(lambda: not alive(broker))
    with embedded_broker(tmp_path) as again:
        assert again == config
        assert consume(again, 1) == [b"acknowledged"]


def test_two_brokers_that_want_the_same_port_run_side_by_side(tmp_path: Path, kafka_config: dict[str, Any]) -> None:
    first = kafka_config["bootstrap.servers"]
    with embedded_broker(tmp_path, port=int(first.rpartition(":")[2])) as config:
        assert config["bootstrap.servers"] != first
        mine, others = (AdminClient(each).list_topics(timeout=30) for each in (config, kafka_config))
        assert mine.cluster_id != others.cluster_id
        assert not mine.topics


def test_every_topic_of_the_contract_is_there_in_its_shape(kafka_config: dict[str, Any]) -> None:
    found = AdminClient(kafka_config).list_topics(timeout=30).topics
    assert {topic.name: topic.partitions for topic in TOPICS} == {
        topic.name: len(found[topic.name].partitions) for topic in TOPICS
    }
    assert kafka.ensure_topics(kafka_config) == ()


def test_a_topic_in_another_shape_is_told_and_left_alone(kafka_config: dict[str, Any]) -> None:
    other = Topic("in-another-shape", "key", 2, None, "nothing", retention_days=1)
    assert kafka.ensure_topics(kafka_config, [other]) == ()
    wanted = Topic("in-another-shape", "key", 3, None, "nothing", None, "compact")
    differences = kafka.ensure_topics(kafka_config, [wanted])
    assert {(each.what, each.found, each.wanted) for each in differences} == {
        ("partitions", "2", "3"),
        ("cleanup.policy", "delete", "compact"),
    }
    assert kafka.ensure_topics(kafka_config, [other]) == ()


def test_lag_counts_what_a_group_has_yet_to_handle(kafka_config: dict[str, Any]) -> None:
    create(kafka_config, "lagging")
    produce(kafka_config, b"1", b"2", b"3", topic="lagging")
    assert lags(kafka_config, "a-group") == [3]
    consumer = Consumer(kafka_config | {"group.id": "a-group"})
    consumer.commit(offsets=[TopicPartition("lagging", 0, 2)], asynchronous=False)
    consumer.close()
    assert lags(kafka_config, "a-group") == [1]
    assert lags(kafka_config, "another-group") == [3]


def lags(config: dict[str, Any], group: str) -> Sequence[int]:
    return [position.lag for position in kafka.positions(config, {"lagging": group})]


def test_positions_of_topics_that_are_not_there_are_left_out(kafka_config: dict[str, Any]) -> None:
    positions = kafka.positions(kafka_config, {"nowhere": "a-group", CONTROL.name: None, SEARCH_REQUESTS.name: "g"})
    assert len(positions) == CONTROL.partitions + SEARCH_REQUESTS.partitions

"""How Kafka is reached, which topics it has, and how far the service is behind."""

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from schemas.topics import TOPICS, Topic
from streams.run_folder import RunFolder
from streams.settings import Settings

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 15.0
CLUSTER_REPLICAS = 3
"""On fewer brokers a topic has one replica."""
_LOADING = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


@dataclass(frozen=True)
class Difference:
    """A topic of the contract that exists in another shape. It is left as it is: the operator decides."""

    topic: str
    what: str
    found: str
    wanted: str


@dataclass(frozen=True)
class Position:
    """Where one partition is: its first and next offsets, and up to where the service has handled it."""

    topic: str
    partition: int
    begin: int
    end: int
    handled: int | None
    """None: the service has no group on it, or has committed nothing yet."""

    @property
    def lag(self) -> int:
        """Records that the service has yet to handle."""
        return max(0, self.end - (self.begin if self.handled is None else self.handled))


def client_config(settings: Settings, folder: RunFolder) -> dict[str, Any]:
    """librdkafka's connection settings: the cluster of the settings, or this data folder's own broker.

    Raises:
        NotRunning: it is this data folder's own, and does not run.
    """
    bootstrap = settings.kafka_bootstrap_servers or str(folder.require("broker")["bootstrap"])
    password = settings.kafka_sasl_password
    given = {
        "bootstrap.servers": bootstrap,
        "client.id": "orchestrator",
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 2000,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": None if password is None else password.get_secret_value(),
        "ssl.ca.location": None if settings.kafka_ssl_ca_location is None else str(settings.kafka_ssl_ca_location),
    }
    return {name: value for name, value in given.items() if value is not None}


def ensure_topics(config: Mapping[str, Any], topics: Sequence[Topic] = TOPICS) -> tuple[Difference, ...]:
    """Create the topics that are missing; what exists in another shape is told, not changed.

    Raises:
        KafkaException: the broker does not answer, or refuses to create a topic.
    """
    admin = AdminClient(dict(config))
    cluster = admin.list_topics(timeout=ANSWER_SECONDS)
    replicas = CLUSTER_REPLICAS if len(cluster.brokers) >= CLUSTER_REPLICAS else 1
    in_sync = {"min.insync.replicas": "2" if replicas > 1 else "1"}
    missing = [
        NewTopic(topic.name, topic.partitions, replicas, config=topic.config | in_sync)
        for topic in topics
        if topic.name not in cluster.topics
    ]
    for created in (admin.create_topics(missing, operation_timeout=ANSWER_SECONDS) if missing else {}).values():
        try:
            created.result()
        except KafkaException as error:
            # Another worker was faster.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _await_leaders(admin, {topic.name for topic in topics})
    existing = [topic for topic in topics if topic.name in cluster.topics]
    found = {topic.name: len(cluster.topics[topic.name].partitions) for topic in existing}
    differences = (*_other_partitions(existing, found), *_other_settings(admin, existing))
    for each in differences:
        log.warning("topic_differs", topic=each.topic, what=each.what, found=each.found, wanted=each.wanted)
    return differences


def _await_leaders(admin: AdminClient, names: Set[str]) -> None:
    """Wait until every topic can be written to and read: its leader learns of it a little after its creation."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while waiting := names - _led(admin, names):
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"no leader for {sorted(waiting)}"))
        time.sleep(0.05)


def _led(admin: AdminClient, names: Set[str]) -> Set[str]:
    """Those topics of which every partition has a leader that knows that it is."""
    found = admin.list_topics(timeout=ANSWER_SECONDS).topics
    led = {name for name in names & found.keys() if all(each.leader >= 0 for each in found[name].partitions.values())}
    places = [TopicPartition(name, number) for name in led for number in found[name].partitions]
    asked = dict.fromkeys(places, OffsetSpec.latest())
    answers = admin.list_offsets(asked, request_timeout=ANSWER_SECONDS) if asked else {}
    return led - {place.topic for place, answer in answers.items() if answer.exception() is not None}


def _other_partitions(topics: Sequence[Topic], found: Mapping[str, int]) -> list[Difference]:
    return [
        Difference(topic.name, "partitions", str(found[topic.name]), str(topic.partitions))
        for topic in topics
        if found[topic.name] != topic.partitions
    ]


def _other_settings(admin: AdminClient, topics: Sequence[Topic]) -> list[Difference]:
    if not topics:
        return []
    resources = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics}
    answers = admin.describe_configs(list(resources.values()), request_timeout=ANSWER_SECONDS)
    differences = []
    for topic in topics:
        found = answers[resources[topic.name]].result()
        differences += [
            Difference(topic.name, name, str(found[name].value), wanted)
            for name, wanted in topic.config.items()
            if str(found[name].value) != wanted
        ]
    return differences


def names(config: Mapping[str, Any]) -> Set[str]:
    """The topics that there are.

    Raises:
        KafkaException: the broker does not answer.
    """
    return AdminClient(dict(config)).list_topics(timeout=ANSWER_SECONDS).topics.keys()


def positions(config: Mapping[str, Any], groups: Mapping[str, str | None]) -> list[Position]:
    """Where every partition of some topics is.

    Args:
        config: librdkafka's connection settings.
        groups: by topic, the consumer group in which the service reads it; None: it does not.

    Raises:
        KafkaException: the broker does not answer.
    """
    admin = AdminClient(dict(config))
    described = admin.list_topics(timeout=ANSWER_SECONDS).topics
    places = [
        TopicPartition(topic, partition)
        for topic in groups
        if topic in described
        for partition in described[topic].partitions
    ]
    handled: dict[tuple[str, int], int] = {}
    for group in filter(None, set(groups.values())):
        read = [place for place in places if groups[place.topic] == group]
        for place in _committed(config, group, read) if read else ():
            handled[place.topic, place.partition] = place.offset
    return _positions(admin, places, handled)


class Lags:
    """How far one group is on one topic, asked again and again by the same clients. Its calls block.

    Args:
        config: librdkafka's connection settings.
        topic: its name.
        group: in which the service reads it.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, group: str) -> None:
        self._topic = topic
        self._admin = AdminClient(dict(config))
        self._consumer = Consumer({**config, "group.id": group})

    def of(self, partitions: Iterable[int]) -> list[Position]:
        """Where some partitions are.

        Raises:
            KafkaException: the broker does not answer.
        """
        places = [TopicPartition(self._topic, number) for number in partitions]
        if not places:
            return []
        answer = self._consumer.committed(places, timeout=ANSWER_SECONDS)
        handled = {(place.topic, place.partition): place.offset for place in answer if place.offset >= 0}
        return _positions(self._admin, places, handled)

    def close(self) -> None:
        """Ask no more."""
        self._consumer.close()


def _positions(
    admin: AdminClient, places: Sequence[TopicPartition], handled: Mapping[tuple[str, int], int]
) -> list[Position]:
    begins, ends = (_offsets(admin, places, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
    return [
        Position(place.topic, place.partition, begins[key], ends[key], handled.get(key))
        for place in places
        for key in [(place.topic, place.partition)]
    ]


def _committed(config: Mapping[str, Any], group: str, places: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Where a group has committed something. A consumer is asked that never joins the group.

    The AdminClient's own question ends this process with a segmentation fault while a broker that has just started
    loads its groups (librdkafka, issue 5040).
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    consumer = Consumer({**config, "group.id": group})
    try:
        while True:
            try:
                answer = consumer.committed(list(places), timeout=ANSWER_SECONDS)
            except KafkaException as error:
                if error.args[0].code() not in _LOADING or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return [place for place in answer if place.offset >= 0]
    finally:
        consumer.close()


def _offsets(admin: AdminClient, places: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    answers = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=ANSWER_SECONDS)
    return {(place.topic, place.partition): int(answer.result().offset) for place, answer in answers.items()}

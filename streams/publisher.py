"""Produces records to Kafka and says when the broker has them."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, Protocol

from confluent_kafka import KafkaError, Message, Producer

from streams.metrics import PUBLISHED

DELIVERY_SECONDS = 30.0
BY_KEY = -1
"""librdkafka's word for a partition that the key decides."""
ANY_SIZE = 1_000_000_000
"""The broker judges a record by its size when compressed, the client before that: what one broker took as a message
must pass this client again as a dead letter."""


class Outgoing(NamedTuple):
    """One record to produce. `partition` None: by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int | None = None


class NotDelivered(Exception):
    """The broker did not acknowledge every record. What was sent may be sent again: consumers de-duplicate.

    Attributes:
        topics: where records are missing.
        missing: how many.
        cause: the first error that the broker or the client gave.
    """

    def __init__(self, topics: Sequence[str], missing: int, cause: str) -> None:
        self.topics = tuple(topics)
        self.missing = missing
        self.cause = cause
        super().__init__(f"{missing} records to {', '.join(topics)} were not acknowledged: {cause}")


class Publishing(Protocol):
    """Whoever brings records to the broker."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce the records in order, and return when the broker has all of them.

        Raises:
            NotDelivered: at least one record was not acknowledged in time.
        """
        ...


def producing(compression: Literal["zstd", "lz4"]) -> dict[str, Any]:
    """librdkafka's settings of a producer that loses nothing and keeps the order."""
    return {
        "acks": "all",
        "enable.idempotence": True,
        # Publishing ends with a flush, which does not linger: until then records gather into few requests.
        "linger.ms": 5,
        "compression.type": compression,
        "message.max.bytes": ANY_SIZE,
        "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
        # What was acknowledged needs no call each: only what was not is told.
        "delivery.report.only.error": True,
        "partitioner": "murmur2_random",
    }


class Publisher:
    """An idempotent producer with a thread of its own; one caller at a time, in order."""

    def __init__(self, config: dict[str, Any], *, compression: Literal["zstd", "lz4"] = "zstd") -> None:
        self._producer = Producer(config | producing(compression), logger=logging.getLogger("librdkafka"))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce the records in order, and return when the broker has all of them.

        Raises:
            NotDelivered: at least one record was not acknowledged in time.
        """
        if records:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, records)

    def _publish(self, records: Sequence[Outgoing]) -> None:
        errors: list[KafkaError] = []
        missing: list[str] = []

        def failed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
                missing.append(str(message.topic()))

        produce, poll = self._producer.produce, self._producer.poll
        for topic, key, value, headers, partition in records:
            where = BY_KEY if partition is None else partition
            while True:
                try:
                    produce(topic, value, key, where, failed, None, 0, headers if type(headers) is list else [*headers])
                except BufferError:
                    poll(0.1)
                else:
                    break
        left = self._producer.flush(DELIVERY_SECONDS + 5)
        if errors or left:
            topics = sorted(set(missing)) or sorted({record.topic for record in records})
            cause = str(errors[0]) if errors else "no answer from the broker"
            raise NotDelivered(topics, len(errors) + int(left), cause)
        for topic, count in Counter(record.topic for record in records).items():
            PUBLISHED.labels(topic).inc(count)

    async def close(self) -> None:
        """Wait for what is on its way, then end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._producer.flush, DELIVERY_SECONDS)
        self._thread.shutdown()

"""A producer of its own process that writes down what the broker has acknowledged, and nothing else.

    python -m tests.faults.witness CONFIG TOPIC BOOK PAUSE < RECORDS

CONFIG is librdkafka's, as JSON. RECORDS are lines `NAME<tab>VALUE`. NAME is appended to the file BOOK, and that is
on the disk, before the next record is sent, PAUSE seconds later. What is not acknowledged is sent again.
"""

import json
import os
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

DELIVERY_MS = 10_000


def main(config: str, topic: str, book: str, pause: str) -> int:
    """Send every record until it is acknowledged."""
    settings = {"acks": "all", "enable.idempotence": True, "delivery.timeout.ms": DELIVERY_MS, "log_level": 0}
    producer = Producer(json.loads(config) | settings)
    with Path(book).open("a") as acknowledged:
        for line in sys.stdin:
            name, value = line.rstrip("\n").split("\t", 1)
            while not _delivered(producer, topic, value):
                pass
            acknowledged.write(f"{name}\n")
            acknowledged.flush()
            os.fsync(acknowledged.fileno())
            time.sleep(float(pause))
    return 0


def _delivered(producer: Producer, topic: str, value: str) -> bool:
    answers: list[bool] = []

    def answer(error: KafkaError | None, message: Message) -> None:
        answers.append(error is None)

    producer.produce(topic, value.encode(), on_delivery=answer)
    while not answers:
        producer.poll(0.1)
    return answers[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

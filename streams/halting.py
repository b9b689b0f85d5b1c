"""The kill switch from outside: Kafka alone is asked, so that it works while everything else is down."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from orchestrator.core.halting import Order, standing
from schemas.base import LARGEST_INTEGER
from schemas.control import Halt
from schemas.envelope import Undecodable, decode
from schemas.signals import Heartbeat
from schemas.topics import CONTROL, SIGNALS
from streams import kafka
from streams.controls import order_in
from streams.reader import TopicReader
from streams.requesting import SOURCE, produce_control
from streams.source import Record

ANSWER_SECONDS = 15.0
HEARTBEATS_SECONDS = 16.0
"""Three heartbeats, and a little: whoever is silent for so long is away."""
FROM_NOW_ON = timedelta(days=1)
"""A reader of what is as young as that reads what comes."""


class EpochsUsedUp(Exception):
    """A scope has come to the largest epoch, so that nothing can take the place of what stands.

    Attributes:
        scope: whose.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(
            f"{scope} is at the largest epoch, {LARGEST_INTEGER}: stop every worker, delete the record with the key "
            f"{scope} from {CONTROL.name} (a tombstone), and start them again"
        )


@dataclass(frozen=True)
class Issued:
    """What became of a halt or lift: `order` as it was written, and `stands`, the message that stands of its scope."""

    order: Order
    stands: Order

    @property
    def overtaken(self) -> bool:
        """Whether somebody else's message stands, given at the same time or since."""
        return self.stands != self.order


@dataclass(frozen=True)
class Heard:
    """What the partitions of signals have said of a message: their worker has it, or not yet; or nothing."""

    have: frozenset[int] = frozenset()
    lack: frozenset[int] = frozenset()
    silent: frozenset[int] = frozenset()


def known(config: dict[str, Any]) -> dict[str, Order]:
    """The message that stands of each scope; none where there is no such topic yet.

    Raises:
        KafkaException: the broker does not answer.
    """
    if not _there(config):
        return {}
    with TopicReader(config, [CONTROL]) as reader:
        return standing(_orders(reader.read_to_end(ANSWER_SECONDS)))


def issue(config: dict[str, Any], order: Order, source: str = SOURCE) -> Issued:
    """Write a halt or lift with the next epoch of its scope, and wait until it is read back.

    Raises:
        KafkaException: the broker does not answer.
        NotProduced: it does not take it.
        EpochsUsedUp: no epoch is left.
    """
    if not _there(config):
        kafka.ensure_topics(config, [CONTROL])
    with TopicReader(config, [CONTROL]) as reader:
        orders = standing(_orders(reader.read_to_end(ANSWER_SECONDS)))
        epoch = 1 if order.scope not in orders else orders[order.scope].epoch + 1
        if epoch > LARGEST_INTEGER:
            raise EpochsUsedUp(order.scope)
        order = order.model_copy(update={"epoch": epoch})
        produce_control(config, order, source)
        deadline = time.monotonic() + ANSWER_SECONDS
        found: list[Order] = []
        while order not in found:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{CONTROL.name} cannot be read back"))
            found += _orders(reader.read(0.2))
    return Issued(order, standing([*orders.values(), *found])[order.scope])


@contextmanager
def workers(config: dict[str, Any]) -> Iterator[TopicReader | None]:
    """A reader of the heartbeats that come from now on; None where no service has ever run.

    Raises:
        KafkaException: the broker does not answer.
    """
    if SIGNALS.name not in kafka.names(config):
        yield None
        return
    with TopicReader(config, [SIGNALS], since=datetime.now(UTC) + FROM_NOW_ON) as reader:
        yield reader


def heard(reader: TopicReader | None, order: Order, patience: float = HEARTBEATS_SECONDS) -> Heard:
    """Wait until each partition's worker has said that it has a message, or until patience, in seconds, ends."""
    if reader is None:
        return Heard()
    deadline = time.monotonic() + patience
    newest: dict[int, bool] = {}
    while time.monotonic() < deadline and not (newest.keys() == reader.partitions and all(newest.values())):
        for record in reader.read(0.2):
            with suppress(Undecodable):
                message = decode(SIGNALS.messages, record.value)
                if isinstance(message, Heartbeat):
                    newest[record.partition] = has(message, order)
    have = frozenset(number for number, there in newest.items() if there)
    return Heard(have, frozenset(newest) - have, reader.partitions - newest.keys())


def has(heartbeat: Heartbeat, order: Order) -> bool:
    """Whether a worker has a message that stands: of a lift, whether it is under no older halt of the scope."""
    epochs = [halt.epoch for halt in heartbeat.halts if halt.scope == order.scope]
    if isinstance(order, Halt):
        return any(epoch >= order.epoch for epoch in epochs)
    return all(epoch > order.epoch for epoch in epochs)


def _orders(records: Iterable[Record]) -> list[Order]:
    orders = []
    for record in records:
        with suppress(Undecodable):
            orders.append(order_in(record))
    return orders


def _there(config: dict[str, Any]) -> bool:
    """Whether the topic exists: the switch may be used before the service has ever run."""
    return CONTROL.name in kafka.names(config)

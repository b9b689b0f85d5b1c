"""How what the tick path has decided comes to the broker: at least once, or exactly once."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.publisher import BY_KEY, NotDelivered, Outgoing, Publishing, producing
from streams.source import Record

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""How long a broker is left alone that did not acknowledge."""
TRANSACTION_SECONDS = 10.0
"""How long the broker waits for a worker that was lost amid a transaction: until then, nobody reads beyond it."""
ANSWER_SECONDS = 30.0


class Delivery(Protocol):
    """Brings parts of batches to the broker, in the order in which it is called, and does not give up."""

    async def send(self, first: Sequence[Outgoing], then: Sequence[Outgoing]) -> None:
        """Take over a part of a batch; nothing of `then` is durable before all of `first` is."""
        ...

    async def finish(self, records: Sequence[Record]) -> None:
        """Return when everything that was sent of the batch of these records is durable."""
        ...


class AtLeastOnce:
    """Each part is durable on its own: whoever reads sees it at once, and again where its batch is read again.

    Signals and states go by producers of their own: the signals of a batch do not wait for the states of those before.

    Args:
        signals: takes signals, and what is beside them, to the broker.
        states: takes states to the broker.
    """

    def __init__(self, signals: Publishing, states: Publishing) -> None:
        self._signals = Lane(signals)
        self._states = Lane(states, newest_alone=True)
        self._sent: set[asyncio.Future[None]] = set()

    async def send(self, first: Sequence[Outgoing], then: Sequence[Outgoing]) -> None:
        """Publish `first`, then `then`."""
        durable = asyncio.get_running_loop().create_future()
        self._sent.add(durable)
        try:
            await self._signals.bring(first)
            await self._states.bring(then)
        finally:
            self._sent.remove(durable)
            durable.set_result(None)

    async def finish(self, records: Sequence[Record]) -> None:
        """Return when the parts before are durable."""
        if self._sent:
            # Unlike gathering them, this leaves them alone when whoever waits here is cancelled.
            await asyncio.wait(self._sent)


class Lane:
    """Brings records to the broker in order: while some are on their way, those that come meanwhile wait, and go
    together when the broker has those before.

    Args:
        publisher: takes records to the broker.
        newest_alone: of those that wait, only the newest of each key goes: the topic is compacted.
    """

    def __init__(self, publisher: Publishing, *, newest_alone: bool = False) -> None:
        self._publisher = publisher
        self._newest_alone = newest_alone
        self._in_turn = asyncio.Lock()
        self._waiting: list[Sequence[Outgoing]] = []

    async def bring(self, records: Sequence[Outgoing]) -> None:
        """Return when the broker has these records, after those that came before them."""
        if not records:
            return
        self._waiting.append(records)
        async with self._in_turn:
            if not any(each is records for each in self._waiting):
                # Whoever had the turn before has taken them along.
                return
            together, self._waiting = self._waiting, []
            try:
                await self._published(self._worth_sending(together))
            except BaseException:
                # The others' are not given up with these.
                self._waiting = [*(each for each in together if each is not records), *self._waiting]
                raise

    def _worth_sending(self, together: Sequence[Sequence[Outgoing]]) -> list[Outgoing]:
        records = [record for each in together for record in each]
        if not self._newest_alone:
            return records
        return [*{(record.topic, record.partition, record.key): record for record in records}.values()]

    async def _published(self, records: Sequence[Outgoing]) -> None:
        while True:
            try:
                await self._publisher.publish(records)
            except NotDelivered as error:
                log.error("not_delivered", topics=error.topics, missing=error.missing, cause=error.cause)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


class ExactlyOnce:
    """A batch is one transaction: its signals, their states and how far the ticks are read become true together.

    Whoever reads what is committed sees every signal once. What the broker aborts is sent again as it was decided; a
    worker whose partitions were given to another one ends.

    Args:
        config: librdkafka's connection settings.
        worker: names this worker's transactions: the same after a restart, another one's for each worker.
        group: the membership of whoever reads the ticks.
    """

    def __init__(self, config: dict[str, Any], *, worker: str, group: Callable[[], Any]) -> None:
        self._producer = Producer(
            config
            | producing("lz4")
            | {
                "transactional.id": worker,
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                "delivery.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            },
            logger=logging.getLogger("librdkafka"),
        )
        self._group = group
        self._in_turn = asyncio.Lock()
        self._held: list[Outgoing] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transact")

    async def start(self) -> None:
        """Abort what an earlier run of this worker has left open.

        Raises:
            KafkaException: the broker does not answer, or takes no transactions.
        """
        await self._in_thread(self._producer.init_transactions, ANSWER_SECONDS)

    async def send(self, first: Sequence[Outgoing], then: Sequence[Outgoing]) -> None:
        """Hold a part back until its batch is whole."""
        async with self._in_turn:
            self._held += (*first, *then)

    async def finish(self, records: Sequence[Record]) -> None:
        """Commit what is held and that these records are read.

        Raises:
            KafkaException: another worker has taken over.
        """
        async with self._in_turn:
            newest = {(record.topic, record.partition): record.offset + 1 for record in records}
            offsets = [TopicPartition(*place, offset) for place, offset in newest.items()]
            await self._in_thread(self._commit, offsets)
            self._held = []

    async def close(self) -> None:
        """End the thread; a transaction that is open is aborted by the broker."""
        # One that was taken over from says so once more.
        with suppress(KafkaException):
            await self._in_thread(self._producer.close)
        self._thread.shutdown()

    def _commit(self, offsets: Sequence[TopicPartition]) -> None:
        while not self._committed(offsets):
            time.sleep(RETRY_SECONDS)

    def _committed(self, offsets: Sequence[TopicPartition]) -> bool:
        """Whether the transaction was committed; else it was aborted, and can be begun again."""
        try:
            self._producer.begin_transaction()
            for topic, key, value, headers, partition in self._held:
                self._produce(topic, value, key, partition, headers)
            self._insist(self._producer.send_offsets_to_transaction, [*offsets], self._group())
            self._insist(self._producer.commit_transaction)
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            log.error("transaction_aborted", error=str(error))
            if not error.txn_requires_abort():
                raise
            self._insist(self._producer.abort_transaction)
            return False
        return True

    def _produce(self, topic: str, value: Any, key: Any, partition: int | None, headers: Any) -> None:
        where = BY_KEY if partition is None else partition
        while True:
            try:
                self._producer.produce(topic, value, key, where, headers=[*headers])
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    @staticmethod
    def _insist(call: Callable[..., Any], *arguments: Any) -> None:
        """Call until the broker has answered: it may be on its way to another leader."""
        while True:
            try:
                call(*arguments, ANSWER_SECONDS)
            except KafkaException as raised:
                if not raised.args[0].retriable():
                    raise
            else:
                return

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

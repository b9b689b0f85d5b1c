"""A dead letter is sent again: its original bytes, key and headers, to the topic that they came from."""

import asyncio
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from schemas.base import Reason
from schemas.commands import ResendDeadLetter
from schemas.dead_letter import read_dead_letter
from schemas.envelope import Undecodable
from streams.letters import ORIGINALS
from streams.publisher import NotDelivered, Outgoing, Publishing
from streams.source import Record

log = structlog.get_logger(__name__)

Find = Callable[[str, int, int], Record | None]
"""The record at (topic, partition, offset), as `streams.letters.record_at`; it blocks."""


class Resending:
    """Sends dead letters again.

    Args:
        find: where letters are read.
        publisher: where they go.
    """

    def __init__(self, find: Find, publisher: Publishing) -> None:
        self._find = find
        self._publisher = publisher

    async def resend(self, command: ResendDeadLetter) -> tuple[Reason, ...]:
        """Send the letter that a command names; why not, or nothing.

        Once it returns, the broker has it. Should whoever asked end before that is written down, it is asked again, and
        the letter is sent again: whoever reads the topic knows a message by its id, as of any producer.

        Raises:
            NotDelivered: the broker does not answer: it may or may not have it.
        """
        original = ORIGINALS.get(command.topic)
        if original is None:
            message = f"{command.topic} holds no dead letters: those topics are {', '.join(ORIGINALS)}"
            return (Reason(code="not_a_dead_letter_topic", where="/topic", message=message),)
        place = f"{command.topic}, partition {command.partition}, offset {command.offset}"
        try:
            record = await asyncio.to_thread(self._find, command.topic, command.partition, command.offset)
        except KafkaException as error:
            raise NotDelivered([command.topic], 1, f"the letter cannot be read: {error.args[0].str()}") from error
        if record is None:
            message = f"there is nothing at {place}: `orchestrator dead-letters list` shows what there is"
            return (Reason(code="no_such_letter", where="/offset", message=message),)
        try:
            letter = read_dead_letter(record.headers)
        except Undecodable as fault:
            return fault.reasons
        if letter.topic != original.name:
            message = f"the letter at {place} says that it came from {letter.topic}, which no letter there does"
            return (Reason(code="not_a_dead_letter", where="/offset", message=message),)
        await self._publisher.publish([Outgoing(original.name, record.key, record.value, tuple(letter.headers))])
        log.info("dead_letter_sent_again", place=place, command_id=command.command_id)
        return ()

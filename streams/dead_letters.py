"""What could not be handled, kept whole."""

from collections.abc import Sequence
from datetime import datetime

from schemas.base import Reason
from schemas.dead_letter import dead_letter_headers
from streams.publisher import Outgoing
from streams.source import Record


def dead_letter(record: Record, reasons: Sequence[Reason], now: datetime) -> Outgoing:
    """The record's original bytes, key and headers, with the reasons and where it came from, for its `.dlq` topic."""
    headers = dead_letter_headers(
        record.headers,
        reasons=tuple(reasons),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        time=now,
    )
    return Outgoing(f"{record.topic}.dlq", record.key, record.value, tuple(headers))

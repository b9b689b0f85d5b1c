"""A dead letter: the original bytes, key and headers, and why and whence it came as further headers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from schemas.base import Reason, format_instant, parse_instant
from schemas.envelope import Undecodable

REASON, TOPIC, PARTITION, OFFSET, TIME = "dlq_reason", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_time"
DEAD_LETTER_HEADERS = (REASON, TOPIC, PARTITION, OFFSET, TIME)
MOST_REASON_BYTES = 65_536
"""With it, an original of MAX_MESSAGE_BYTES still fits under DEAD_LETTER_MAX_MESSAGE_BYTES."""
_REASONS = TypeAdapter(tuple[Reason, ...])

OriginalHeaders = list[tuple[str, bytes | None]]


@dataclass(frozen=True)
class DeadLetter:
    """What the headers of a dead letter say; `headers` are the original's own."""

    reasons: tuple[Reason, ...]
    topic: str
    partition: int
    offset: int
    time: datetime
    """When it was given up."""
    headers: OriginalHeaders


def dead_letter_headers(
    original: Iterable[tuple[str, bytes | None]] | None,
    *,
    reasons: Sequence[Reason],
    topic: str,
    partition: int,
    offset: int,
    time: datetime,
) -> OriginalHeaders:
    """The original headers and those of the dead letter; an earlier dead letter's are replaced.

    The reasons are cut at 65,536 bytes, with a last one that counts the rest; nothing of the original is.
    """
    return [
        *original_headers(original),
        (REASON, _bounded(reasons)),
        (TOPIC, topic.encode()),
        (PARTITION, str(partition).encode()),
        (OFFSET, str(offset).encode()),
        (TIME, format_instant(time).encode()),
    ]


def original_headers(headers: Iterable[tuple[str, bytes | None]] | None) -> OriginalHeaders:
    """The headers without those of a dead letter: what a letter is sent again with."""
    return [(name, value) for name, value in headers or () if name not in DEAD_LETTER_HEADERS]


def read_dead_letter(headers: Iterable[tuple[str, bytes | None]] | None) -> DeadLetter:
    """Read a dead letter's headers.

    Raises:
        Undecodable: a header is missing or malformed: the record is not a dead letter.
    """
    headers = list(headers or ())
    found = {name: value for name, value in headers if name in DEAD_LETTER_HEADERS and value is not None}
    try:
        return DeadLetter(
            reasons=_REASONS.validate_json(found[REASON]),
            topic=found[TOPIC].decode(),
            partition=_count(found[PARTITION]),
            offset=_count(found[OFFSET]),
            time=parse_instant(found[TIME].decode()),
            headers=original_headers(headers),
        )
    except KeyError as fault:
        raise Undecodable((_reason(f"the header {fault.args[0]} is missing"),)) from fault
    except ValueError as fault:
        raise Undecodable((_reason("a header that begins with dlq_ is malformed"),)) from fault


def _count(value: bytes) -> int:
    if not (value.isdigit() and len(value) < 20):
        raise ValueError("must be a decimal number")
    return int(value)


def _reason(message: str) -> Reason:
    return Reason(code="not_a_dead_letter", message=f"{message}: only the service writes to a dead-letter topic")


def _bounded(reasons: Sequence[Reason]) -> bytes:
    value = _REASONS.dump_json(tuple(reasons))
    kept = len(reasons)
    while len(value) > MOST_REASON_BYTES:
        kept //= 2
        left_out = Reason(code="left_out", message=f"{len(reasons) - kept} more reasons did not fit")
        value = _REASONS.dump_json((*reasons[:kept], left_out))
    return value

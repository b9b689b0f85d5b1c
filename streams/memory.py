"""What the tick path remembers in each place: how far it has answered, and what it holds.

The truth is the compacted topic `signal-state`; this is its newest state for the partitions at hand. A state record is
written after its signal is durable, and the partition of the tick that caused it says in which partition it lies, so
that whoever reads that partition of ticks knows where its states are.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from schemas.envelope import Undecodable, decode
from schemas.signals import Signal
from schemas.topics import SIGNAL_STATE
from serving.rolling import Rolling, load_rolling
from streams.publisher import Outgoing
from streams.source import Record

log = structlog.get_logger(__name__)

Place = tuple[str, str, str, str]
"""Ensemble, ticker, timeframe, and the mode of the signals: what is replayed or on paper changes nothing live."""

HELD, HELD_BEFORE = "held_position", "held_position_before"
SEED, ROLLED = "calibration_seed", "calibration_rolled"
READ = "tick_read"


class Answered(NamedTuple):
    """The newest answer in one place.

    Attributes:
        position: what is held after it; an abstention leaves what was held.
        position_before: what was held before it, for a revision that answers the same bar again.
        rolling: what its votes are calibrated by; None: by nothing that rolls.
        read: partition and offset of its tick; None: not known.
        version: that gave it.
    """

    event_time: datetime
    revision: int
    signal_id: str
    position: int
    position_before: int
    rolling: Rolling | None = None
    read: tuple[int, int] | None = None
    version: int | None = None

    def knows(self, partition: int, offset: int) -> bool:
        """Whether a tick was read before this answer was given: what was to be said of it was said."""
        return self.read is not None and self.read[0] == partition and offset <= self.read[1]

    @property
    def bar(self) -> tuple[datetime, int]:
        """Which bar, and which revision of it, was answered."""
        return self.event_time, self.revision


class SignalMemory:
    """The newest answers, by place.

    Args:
        read_states: reads every record of the given partitions of `signal-state`, in order by partition.
    """

    def __init__(self, read_states: Callable[[Sequence[int]], Iterable[Record]]) -> None:
        self._read_states = read_states
        self._answered: dict[Place, Answered] = {}

    def restore(self, partitions: Sequence[int]) -> None:
        """Take over from the topic what was answered in these partitions; what is no state is passed over."""
        for record in self._read_states(sorted({state_partition(each) for each in partitions})):
            if record.value is None:
                continue
            try:
                place, answered = read_state(record)
            except (Undecodable, ValueError) as error:
                log.error("no_signal_state", partition=record.partition, offset=record.offset, error=str(error))
                continue
            known = self._answered.get(place)
            # Where an instrument has changed its partition, what it left in the old one may be read last. Replays go
            # back; of them the last word counts.
            if known is None or known.bar <= answered.bar or place[-1] == "replay":
                self._answered[place] = answered

    def newest(self, place: Place) -> Answered | None:
        """The newest answer in a place."""
        return self._answered.get(place)

    def remember(self, place: Place, answered: Answered) -> None:
        """Take over an answer."""
        self._answered[place] = answered


def state_partition(tick_partition: int) -> int:
    """Where the states of a partition of ticks lie: the same one, unless the operator made more of them for ticks."""
    return tick_partition % SIGNAL_STATE.partitions


def state_record(place: Place, signal: bytes, answered: Answered, tick_partition: int) -> Outgoing:
    """The record that makes an answer, written as it was published, found again after a restart or a rebalance."""
    headers = [(HELD, str(answered.position).encode()), (HELD_BEFORE, str(answered.position_before).encode())]
    if answered.rolling is not None:
        headers += [(SEED, answered.rolling.past.seed.encode()), (ROLLED, answered.rolling.dump())]
    if answered.read is not None:
        headers.append((READ, b"%d:%d" % answered.read))
    return Outgoing(SIGNAL_STATE.name, "|".join(place).encode(), signal, headers, state_partition(tick_partition))


def read_state(record: Record) -> tuple[Place, Answered]:
    """Read what `state_record` wrote.

    Raises:
        Undecodable: the value is no signal.
        ValueError: the headers hold no positions.
    """
    signal = decode(Signal, record.value)
    headers = dict(record.headers)
    held, before = (_position(headers.get(name)) for name in (HELD, HELD_BEFORE))
    place = (signal.ensemble, signal.ticker, signal.timeframe, signal.mode)
    rolling = _rolling(headers.get(SEED), headers.get(ROLLED), record, signal.timeframe)
    read = _place_read(headers.get(READ))
    return place, Answered(signal.event_time, signal.revision, signal.id, held, before, rolling, read, signal.version)


def _rolling(seed: bytes | None, rolled: bytes | None, record: Record, timeframe: str) -> Rolling | None:
    """The calibration of a state; one that cannot be read begins anew: what is held must be known all the same."""
    if seed is None or rolled is None:
        return None
    try:
        return load_rolling(seed.decode(), timeframe, rolled)
    except ValueError as error:
        log.error("no_calibration", partition=record.partition, offset=record.offset, error=str(error))
        return None


def _place_read(header: bytes | None) -> tuple[int, int] | None:
    if header is None:
        return None
    partition, offset = header.decode().split(":")
    return int(partition), int(offset)


def _position(header: bytes | None) -> int:
    found = int((header or b"0").decode())
    if abs(found) > 1:
        raise ValueError(f"{found} is no position")
    return found

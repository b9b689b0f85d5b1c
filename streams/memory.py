"""What the tick path remembers of each ensemble, instrument and timeframe: how far it has answered, and what it holds.

The truth is the compacted topic `signal-state`; this is its newest state for the partitions at hand. A state record is
written after its signal is durable, and lies in the partition of the tick that caused it, so that whoever reads that
partition of ticks finds its states in the same partition.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.envelope import decode, encode
from schemas.signals import Signal
from schemas.topics import SIGNAL_STATE
from streams.publisher import Outgoing
from streams.source import Record

Place = tuple[str, str, str]
"""Ensemble, ticker, timeframe."""

HELD, HELD_BEFORE = "held_position", "held_position_before"


@dataclass(frozen=True)
class Answered:
    """The newest answer in one place.

    Attributes:
        position: what is held after it; an abstention leaves what was held.
        position_before: what was held before it, for a revision that answers the same bar again.
    """

    event_time: datetime
    revision: int
    signal_id: str
    position: int
    position_before: int


class SignalMemory:
    """The newest answers, by place.

    Args:
        read_states: reads every record of the given partitions of `signal-state`.
    """

    def __init__(self, read_states: Callable[[Sequence[int]], Iterable[Record]]) -> None:
        self._read_states = read_states
        self._answered: dict[Place, Answered] = {}

    def restore(self, partitions: Sequence[int]) -> None:
        """Take over from the topic what was answered in these partitions.

        Raises:
            Undecodable: the topic holds a record that is no state.
        """
        for record in self._read_states(partitions):
            if record.value is not None:
                place, answered = read_state(record)
                self._answered[place] = answered

    def newest(self, place: Place) -> Answered | None:
        """The newest answer in a place."""
        return self._answered.get(place)

    def remember(self, answers: Mapping[Place, Answered]) -> None:
        """Take over answers whose signals are durable."""
        self._answered.update(answers)


def state_record(signal: Signal, answered: Answered, partition: int) -> Outgoing:
    """The record that makes an answer found again after a restart or a rebalance."""
    key = f"{signal.ensemble}|{signal.ticker}|{signal.timeframe}".encode()
    headers = (
        (HELD, str(answered.position).encode()),
        (HELD_BEFORE, str(answered.position_before).encode()),
    )
    return Outgoing(SIGNAL_STATE.name, key, encode(signal), headers, partition)


def read_state(record: Record) -> tuple[Place, Answered]:
    """Read what `state_record` wrote.

    Raises:
        Undecodable: the value is no signal.
    """
    signal = decode(Signal, record.value)
    headers = dict(record.headers)
    held, before = (int((headers.get(name) or b"0").decode()) for name in (HELD, HELD_BEFORE))
    answered = Answered(signal.event_time, signal.revision, signal.id, held, before)
    return (signal.ensemble, signal.ticker, signal.timeframe), answered

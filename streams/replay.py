"""Plays bars from feature files as a live feed of ticks."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from confluent_kafka import Producer

from orchestrator.core.bars import Bars
from schemas.base import Mode
from schemas.envelope import encode
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS


class NotPlayed(Exception):
    """The broker did not acknowledge every tick.

    Attributes:
        sent: how many ticks were produced.
        missing: how many of them are not acknowledged.
        cause: what the client or the broker said first.
    """

    def __init__(self, sent: int, missing: int, cause: str) -> None:
        self.sent = sent
        self.missing = missing
        self.cause = cause
        super().__init__(f"{missing} of {sent} ticks were not acknowledged: {cause}")


def tick_of(bars: Bars, row: int, now: datetime, mode: Mode = "live") -> FeatureTick:
    """One bar as a tick: `event_time` is the bar's close, `available_at` is now; what could not be computed is null."""
    return FeatureTick(
        ticker=bars.ticker,
        timeframe=bars.timeframe,
        event_time=bars.event_time[row].astype("datetime64[us]").item().replace(tzinfo=UTC),
        available_at=now,
        features={
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(bars.feature_names, bars.features[row], strict=True)
        },
        price=float(bars.close[row]),
        mode=mode,
    )


def in_step(instruments: Sequence[Bars]) -> list[tuple[np.datetime64, list[tuple[Bars, int]]]]:
    """The bars of all instruments by event time: what a feed would send together, in order."""
    moments: dict[np.datetime64, list[tuple[Bars, int]]] = {}
    for bars in instruments:
        for row, moment in enumerate(bars.event_time):
            moments.setdefault(moment, []).append((bars, row))
    return sorted(moments.items(), key=lambda each: each[0])


def replay(
    instruments: Sequence[Bars],
    config: dict[str, Any],
    *,
    rate: float | None,
    mode: Mode = "live",
    on_progress: Callable[[int], None] = lambda sent: None,
) -> int:
    """Produce every bar as a tick, all instruments in step.

    Args:
        instruments: the bars to play.
        config: librdkafka's connection settings.
        rate: event times per second; None: as fast as it goes.
        mode: of the ticks.
        on_progress: called with the number of ticks sent so far.

    Returns:
        How many ticks the broker has acknowledged.

    Raises:
        NotPlayed: the broker did not acknowledge all of them.
    """
    # Partitions as Java's clients choose them, so that a replay meets the live feed of an instrument.
    producer = Producer(
        config | {"acks": "all", "enable.idempotence": True, "linger.ms": 2, "partitioner": "murmur2_random"}
    )
    failures: list[str] = []
    sent = 0
    begun = time.monotonic()
    for step, (_, together) in enumerate(in_step(instruments)):
        if rate is not None:
            wait = begun + step / rate - time.monotonic()
            if wait > 0:
                producer.flush(0)
                time.sleep(wait)
        for bars, row in together:
            tick = tick_of(bars, row, datetime.now(UTC), mode)
            _produce(producer, tick, failures)
            sent += 1
        producer.poll(0)
        on_progress(sent)
    left = producer.flush(30)
    if failures or left:
        raise NotPlayed(sent, len(failures) + left, failures[0] if failures else "no answer from the broker")
    return sent


def _produce(producer: Producer, tick: FeatureTick, failures: list[str]) -> None:
    while True:
        try:
            producer.produce(
                FEATURE_TICKS.name,
                key=tick.ticker.encode(),
                value=encode(tick),
                on_delivery=lambda error, message: failures.append(str(error)) if error is not None else None,
            )
        except BufferError:
            # As fast as it goes is as fast as the broker takes them.
            producer.poll(0.1)
        else:
            return

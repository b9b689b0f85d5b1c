"""What stands in for Kafka, Ray and Ray Serve where the tests are about what is decided."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.dataset import SessionPolicy
from orchestrator.core.errors import Refused
from orchestrator.core.halting import Effect
from schemas.base import Mode, Reason
from schemas.codec import Tick, write_signal
from schemas.envelope import decode, encode
from schemas.signals import Signal
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS
from serving.answer import BatchAnswer, FeatureBatch, Part, Reasons
from serving.replica import NotServing
from serving.rolling import Worth
from serving.version import ServedVersion
from streams.decision import Moment, Sheet, decide
from streams.memory import Answered
from streams.publisher import NotDelivered, Outgoing
from streams.source import Record

NOW = datetime(2026, 1, 15, 21, 0, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST_BAR = datetime(2026, 1, 14, tzinfo=UTC)
SCORE = "score"
"""The feature that the fake ensembles take for their score."""
THRESHOLD, EXIT_THRESHOLD = 0.7, 0.35
MEMBERS = ("member-1", "member-2")
MISSING = (Reason(code="missing_feature", message=f"{SCORE}: missing; the ensemble abstains."),)


class FakePublisher:
    """Keeps what is published, batch by batch; calls whose numbers (from 1) are in `refused` are not acknowledged."""

    def __init__(self) -> None:
        self.batches: list[tuple[Outgoing, ...]] = []
        self.refused: set[int] = set()
        self._calls = count(1)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if not records:
            return
        if next(self._calls) in self.refused:
            raise NotDelivered(sorted({record.topic for record in records}), len(records), "refused by the test")
        self.batches.append(tuple(records))

    @property
    def published(self) -> list[Outgoing]:
        """Everything, in order."""
        return [record for batch in self.batches for record in batch]

    def on(self, topic: str) -> list[Outgoing]:
        """What one topic has."""
        return [record for record in self.published if record.topic == topic]


def as_read(records: Sequence[Outgoing]) -> list[Record]:
    """What was published, as a consumer reads it."""
    return [
        Record(each.topic, each.partition or 0, offset, each.key, each.value, tuple(each.headers))
        for offset, each in enumerate(records)
    ]


class Clock:
    """A clock that goes on by a microsecond whenever it is looked at, and by more when it is told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time go by."""
        self.now += by


def bar(hours: int) -> datetime:
    """The close of one of the hourly bars that the tests tick by."""
    return FIRST_BAR + hours * HOUR


def tick(
    hours: int = 0,
    score: float | None = 0.9,
    *,
    ticker: str = "AAPL",
    revision: int = 0,
    mode: Mode = "live",
    age: timedelta = timedelta(seconds=1),
    features: Mapping[str, float | None] | None = None,
    event_time: datetime | None = None,
) -> FeatureTick:
    """A tick of an hourly bar; `age` is since `available_at`."""
    return FeatureTick(
        ticker=ticker,
        timeframe="1h",
        event_time=bar(hours) if event_time is None else event_time,
        available_at=NOW - age,
        revision=revision,
        features={SCORE: score} if features is None else dict(features),
        mode=mode,
    )


def record(value: FeatureTick | bytes | None, offset: int = 0, partition: int = 0) -> Record:
    """A record of `feature-ticks`."""
    body = encode(value) if isinstance(value, FeatureTick) else value
    key = value.ticker.encode() if isinstance(value, FeatureTick) else b"key"
    return Record(FEATURE_TICKS.name, partition, offset, key, body, (("producer", b"test"),))


def served(ensemble: str = "alpha", version: int = 1, mode: Mode = "live") -> ServedVersion:
    """A version that serves."""
    return ServedVersion(ensemble, version, f"{version:064x}", mode, "passed")


def batch_answer(
    scores: Floats,
    tickers: Sequence[str],
    *,
    by: ServedVersion | None = None,
    session_policy: SessionPolicy = "hold",
    covered: Sequence[bool] | None = None,
    worth: Worth | None = None,
    calibration_id: str = "2026-01-14",
) -> BatchAnswer:
    """What an ensemble of two members that agree says; NaN: it abstains. Its calibration rolls where a score's `worth`
    is given."""
    members = np.tile(np.asarray(scores, dtype=np.float64)[:, None], (1, len(MEMBERS)))
    missing: list[Reasons] = [MISSING if abstains else () for abstains in np.isnan(scores)]
    return BatchAnswer(
        served=by or served(),
        experiment="grid_elasticnet_20260114_000000_abcdef",
        voting="soft",
        threshold=THRESHOLD,
        exit_threshold=EXIT_THRESHOLD,
        horizon=1,
        session_policy=session_policy,
        trained_through=bar(-24),
        members=dict.fromkeys(tickers, MEMBERS),
        calibration_ids=dict.fromkeys(tickers, calibration_id),
        worth={} if worth is None else dict.fromkeys(tickers, worth),
        covered=np.ones(len(scores), dtype=np.bool_) if covered is None else np.asarray(covered, dtype=np.bool_),
        raw=np.asarray(scores, dtype=np.float64),
        opinion=np.asarray(scores, dtype=np.float64),
        score=np.asarray(scores, dtype=np.float64),
        confidence=np.abs(scores),
        p_correct=np.where(np.isnan(scores), np.nan, 0.55),
        edge_bps=10 * np.asarray(scores, dtype=np.float64),
        votes=np.nan_to_num(np.sign(members)).astype(np.int8),
        strengths=members,
        confidences=np.where(np.isnan(members), np.nan, 0.55),
        predictions=members / 1000,
        reasons=tuple(missing),
    )


def decided(
    on: Tick, answer: BatchAnswer, row: int, newest: Answered | None, moment: Moment
) -> tuple[Signal, Answered]:
    """The signal of one tick as whoever reads it has it, and what is remembered of it."""
    signal, answered = decide(on, Sheet(answer), row, newest, moment)
    return decode(Signal, write_signal(signal)), answered


@dataclass
class Halts:
    """The halts in effect, by ensemble."""

    effects: dict[str, Effect] = field(default_factory=dict)

    def on(self, ensemble: str, ticker: str, now: datetime) -> Effect | None:
        return self.effects.get(ensemble)


@dataclass
class Hurdle:
    """What somebody waits at until it is opened."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class FakeAnswerer:
    """Ensembles that say of each tick what its score feature says.

    Attributes:
        versions: what serves, by ensemble; the others do not answer.
        asked: every batch, with the ensemble that it was put to.
        absent: an ensemble does not answer the next so many calls.
        on_absence: called before a refusal.
        hanging: an ensemble answers only when its hurdle is opened.
        uncovered: instruments that no version covers.
        worth: of a score, where calibrations roll.
        calibration_id: of the versions.
    """

    versions: dict[str, ServedVersion]
    session_policy: SessionPolicy = "hold"
    asked: list[tuple[str, FeatureBatch]] = field(default_factory=list)
    absent: dict[str, int] = field(default_factory=dict)
    on_absence: Callable[[], None] = lambda: None
    hanging: dict[str, Hurdle] = field(default_factory=dict)
    uncovered: set[str] = field(default_factory=set)
    worth: Worth | None = None
    calibration_id: str = "2026-01-14"

    async def answer(self, ensemble: str, batch: FeatureBatch) -> tuple[Part, ...]:
        self.asked.append((ensemble, batch))
        if ensemble in self.hanging:
            self.hanging[ensemble].reached.set()
            await self.hanging[ensemble].opened.wait()
        if ensemble not in self.versions or self.absent.get(ensemble, 0) > 0:
            self.absent[ensemble] = self.absent.get(ensemble, 0) - 1
            self.on_absence()
            raise NotServing([Reason(code="not_serving", where=ensemble, message="no version answers")])
        column = batch.names.index(SCORE) if SCORE in batch.names else None
        scores = np.full(len(batch.tickers), np.nan) if column is None else batch.matrix[:, column]
        answer = batch_answer(
            scores,
            batch.tickers,
            by=self.versions[ensemble],
            session_policy=self.session_policy,
            covered=[ticker not in self.uncovered for ticker in batch.tickers],
            worth=self.worth,
            calibration_id=self.calibration_id,
        )
        return (Part.whole(answer),)


def reasons_in(refusal: Refused) -> list[str]:
    """The codes of a refusal."""
    return [reason.code for reason in refusal.reasons]


def in_batches(records: Sequence[Record], cuts: Sequence[int]) -> Iterator[Sequence[Record]]:
    """The records, cut before each of these places."""
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(records)}), len(records)]
    for start, stop in pairwise(bounds):
        yield records[start:stop]

"""What a user would turn ticks into signals with instead. Each contender is a process of its own:

    python -m benchmarks.signal_peers NAME SETTINGS

NAME is quix_streams, faust_plain or floor; SETTINGS is JSON: `config` (librdkafka's), `group`, `topic` (to write to),
`folder` (for what it keeps), `ensemble` and `artifacts`, and `digest` (of the manifest). Each reads `feature-ticks`
from where its group stands until it is stopped. Each reads ticks and writes signals by the service's own codec, under
the same ids and headers, and holds positions by the same function; `floor` only hands bytes on.
"""

import json
import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.core.calendar import calendar_named
from orchestrator.core.position import position
from schemas.codec import Tick, WireSignal, WireVote, read_tick, write_signal
from schemas.envelope import Headers, written_headers
from schemas.signals import written_id
from schemas.topics import FEATURE_TICKS
from serving.artifacts import Artifacts
from serving.calibration import Reliability
from serving.version import LoadedVersion, Panel, ServedVersion, load_version
from streams.decision import written

GRACE = timedelta(seconds=60)
SOURCE = b"/orchestrator"
TRACE = "traceparent"


def _curve(reliability: Reliability) -> Callable[[float], float]:
    """`Reliability.at`, of one figure."""
    knots, chances = reliability.strength.tolist(), reliability.chance.tolist()

    def at(strength: float) -> float:
        magnitude = abs(strength)
        place = bisect_right(knots, magnitude)
        if place == 0 or place == len(knots):
            return float(chances[max(0, place - 1)])
        below, above = knots[place - 1], knots[place]
        share = (magnitude - below) / (above - below)
        return float(chances[place - 1] + share * (chances[place] - chances[place - 1]))

    return at


def _rank(reference: Sequence[float], value: float) -> float:
    return (bisect_left(reference, value) + bisect_right(reference, value)) / (2 * len(reference))


class OneRow:
    """One instrument's panel, for one tick at a time: in plain numbers, since arrays of one row are slow."""

    def __init__(self, panel: Panel) -> None:
        self._names = panel.feature_names
        self._predict = _row_predictor(panel)
        self._members = [voter.member for voter in panel.voters]
        self._references = [each.reference.tolist() for each in panel.calibration.members]
        self._curves = [_curve(each.reliability) for each in panel.calibration.members]
        self._weights = panel.rules.weight.tolist()
        assert panel.calibration.reference is not None
        assert panel.calibration.reliability is not None
        self._reference = panel.calibration.reference.tolist()
        self._chance = _curve(panel.calibration.reliability)
        self._rules = panel.rules
        self.calibration_id = panel.calibration_id

    def __call__(self, features: Mapping[str, float | None]) -> tuple[float, float, float, list[WireVote]] | None:
        """Score, chance that its direction is right, expected return and votes; None: a feature is missing."""
        try:
            row = [features[name] for name in self._names]
        except KeyError:
            return None
        if None in row:
            return None
        predictions = self._predict(row)
        votes, above, below, expected = [], 0.0, 0.0, 0.0
        for member, prediction, reference, curve, weight in zip(
            self._members, predictions, self._references, self._curves, self._weights, strict=True
        ):
            strength = math.copysign(_rank(reference, abs(prediction)), prediction) if prediction else 0.0
            confidence = curve(strength)
            share = weight * confidence
            above += share * strength
            below += share
            expected += share * prediction
            vote = "BUY" if prediction > 0 else "SELL" if prediction < 0 else "HOLD"
            votes.append(WireVote(member, vote, strength, confidence, prediction))
        expected /= below
        score = 2 * _rank(self._reference, above / below) - 1
        chance = self._chance(score)
        direction = (score > 0) - (score < 0)
        if direction * expected < 2 * self._rules.cost:
            score = min(max(score, -self._rules.threshold), self._rules.threshold)
        return score, chance, expected, votes


def _row_predictor(panel: Panel) -> Callable[[list[Any]], list[float]]:
    """The members' predictions on one row: one matrix product where they are linear, else each library's own call."""
    predictors = [voter.predictor for voter in panel.voters]
    coefficients = [getattr(each, "coefficients", None) for each in predictors]
    if None not in coefficients:
        matrix = np.array(coefficients)
        intercepts = np.array([each.intercept for each in predictors])  # type: ignore[attr-defined]
        return lambda row: list((matrix @ np.array(row) + intercepts).tolist())
    return lambda row: [float(each.predict(matrix)[0]) for matrix in [np.array([row])] for each in predictors]


class Line:
    """One tick after the other: its signal, under the id and with the headers that the service's has."""

    def __init__(self, loaded: LoadedVersion) -> None:
        self._loaded = loaded
        self._panels = {ticker: OneRow(panel) for ticker, panel in loaded.panels.items()}
        self._calendar = calendar_named("24/7")
        self._held: dict[str, int] = {}

    def signal(self, tick: Tick) -> WireSignal:
        """The signal of a tick."""
        panel = self._panels[tick.ticker]
        answer = panel(tick.features)
        assert answer is not None
        score, chance, expected, votes = answer
        manifest, served, held = self._loaded.manifest, self._loaded.served, self._held.get(tick.ticker, 0)
        after = position(score, held, threshold=manifest.threshold, exit_threshold=manifest.exit_threshold)
        self._held[tick.ticker] = after
        event_time = written(tick.event_time)
        return WireSignal(
            id=written_id(served.ensemble, tick.ticker, tick.timeframe, event_time, tick.revision, served.mode),
            ensemble=served.ensemble,
            version=served.version,
            ticker=tick.ticker,
            timeframe=tick.timeframe,
            event_time=event_time,
            revision=tick.revision,
            supersedes=None,
            emitted_at=written(datetime.now(UTC)),
            valid_until=written(self._calendar.next_close(tick.event_time, tick.timeframe) + GRACE),
            signal="BUY" if after > held else "SELL" if after < held else "HOLD",
            target_position=after,
            confidence=abs(score),
            score=score,
            p_correct=chance,
            edge_bps=expected * 10_000,
            num_models=len(votes),
            voting_method=manifest.voting,
            votes=votes,
            model_age=(tick.event_time - manifest.trained_through).total_seconds(),
            gate=served.gate,
            mode=served.mode,
            reasons=[],
            experiment=manifest.experiment,
            calibration_id=panel.calibration_id,
        )


def headers_for(signal: WireSignal, traceparent: bytes | None) -> Headers:
    """The headers of a signal."""
    return written_headers(signal.id, signal.TYPE, SOURCE, signal.emitted_at.encode(), traceparent)


def _line(settings: dict[str, Any]) -> Line:
    served = ServedVersion(settings["ensemble"], 1, settings["digest"], "live", "overridden")
    return Line(load_version(served, Artifacts(Path(settings["artifacts"]))))


def _trace(headers: Any) -> bytes | None:
    return next((value for name, value in headers or () if name == TRACE), None)


def quix_streams(settings: dict[str, Any]) -> None:
    """Quix Streams with the same model in its own process, as its documentation has it: a function a message."""
    application: Any = import_module("quixstreams").Application
    connection: Any = import_module("quixstreams.kafka.configuration").ConnectionConfig

    line = _line(settings)
    app = application(
        broker_address=connection.from_librdkafka_dict(settings["config"]),
        consumer_group=settings["group"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=settings["folder"],
        consumer_extra_config={"fetch.wait.max.ms": 50},
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4", "partitioner": "murmur2_random"},
        loglevel="WARNING",
    )
    ticks = app.topic(FEATURE_TICKS.name, value_deserializer="bytes", key_deserializer="bytes")
    signals = app.topic(settings["topic"], value_serializer="bytes", key_serializer="bytes")
    told: list[WireSignal] = []

    def decide(value: bytes) -> bytes:
        signal = line.signal(read_tick(value))
        told[:] = [signal]
        return write_signal(signal)

    def head(value: bytes, key: Any, timestamp: int, headers: Any) -> Headers:
        return headers_for(told[0], _trace(headers))

    stream = app.dataframe(ticks).apply(decide)
    stream.set_headers(head).to_topic(signals)
    app.run()


def floor(settings: dict[str, Any]) -> None:
    """librdkafka alone: as many bytes as a signal has, for each tick, with as many headers."""
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        settings["config"]
        | {
            "group.id": settings["group"],
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "enable.auto.offset.store": False,
        }
    )
    producer = Producer(
        settings["config"]
        | {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
        }
    )
    consumer.subscribe([FEATURE_TICKS.name])
    filling = b" " * 400
    while True:
        first = consumer.poll(0.1)
        if first is None:
            continue
        messages = [each for each in (first, *consumer.consume(1999, 0)) if each.error() is None]
        for message in messages:
            where = b"%d:%d" % (message.partition() or 0, message.offset() or 0)
            headers = written_headers(where.decode(), "signal", SOURCE, where, _trace(message.headers()))
            while True:
                try:
                    producer.produce(
                        settings["topic"], (message.value() or b"") + filling, message.key(), headers=[*headers]
                    )
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.flush()
        for message in messages:
            consumer.store_offsets(message)


def faust_plain(settings: dict[str, Any]) -> None:
    """Faust as its documentation has it: an agent that takes a tick, asks Ray Serve about it, and sends a signal."""
    import faust
    import ray
    from ray import serve

    from serving.answer import FeatureBatch
    from streams.asking import features_of
    from streams.decision import Moment, Sheet, decide
    from streams.memory import Answered

    ray.init(settings["ray"], namespace=settings["namespace"], log_to_driver=False, configure_logging=False)
    handle: Any = serve.get_app_handle(f"ensemble-{settings['ensemble']}")
    calendar = calendar_named("24/7")
    app = faust.App(
        settings["group"],
        broker=f"kafka://{settings['config']['bootstrap.servers']}",
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        datadir=settings["folder"],
    )
    ticks = app.topic(FEATURE_TICKS.name, value_serializer="raw", key_serializer="raw")
    signals = app.topic(settings["topic"], value_serializer="raw", key_serializer="raw")
    held: dict[str, Answered] = {}

    @app.agent(ticks)
    async def follow(stream: Any) -> None:
        async for event in stream.events():
            tick = read_tick(event.message.value)
            batch: FeatureBatch = features_of([tick])
            (part,) = await handle.answer.remote(batch)
            moment = Moment(datetime.now(UTC), calendar.next_close(tick.event_time, tick.timeframe) + GRACE, False)
            signal, held[tick.ticker] = decide(tick, Sheet(part.answer), 0, held.get(tick.ticker), moment)
            headers = headers_for(signal, _trace(event.message.headers))
            await signals.send(key=event.message.key, value=write_signal(signal), headers=headers)

    sys.argv = ["faust", "worker", "--loglevel", "warn", "--without-web"]
    app.main()


CONTENDERS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "quix_streams": quix_streams,
    "faust_plain": faust_plain,
    "floor": floor,
}


if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](json.loads(sys.argv[2]))

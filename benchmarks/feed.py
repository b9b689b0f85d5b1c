"""What the signal benchmarks feed and serve: an ensemble of five members for each of some instruments, and ticks."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from orchestrator.algorithms.base import Configuration, trainer
from orchestrator.core.canonical import digest
from orchestrator.core.dataset import Terms
from orchestrator.core.draft import Candidate, EnsembleDraft
from orchestrator.core.drift import Profile, profile_of
from orchestrator.core.lifecycle import LINE, State
from orchestrator.store import ensembles, experiments, requests
from orchestrator.store.database import Database
from schemas.base import format_instant
from schemas.experiments import GateVerdict
from schemas.search import SearchRequest
from schemas.topics import FEATURE_TICKS
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler

TICKERS = tuple(f"BENCH{number}" for number in range(8))
FEATURES = tuple(f"feature_{number:02d}" for number in range(20))
TIMEFRAME = "1m"
MEMBERS = 5
WINDOW = 60
ROWS = 1_000
"""Of training and calibration each."""
TRACEPARENT: list[tuple[str, str | bytes | None]] = [
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
]
CONFIGURATIONS: dict[str, tuple[Configuration, ...]] = {
    "elasticnet": tuple({"alpha": 0.001 * (number + 1), "l1_ratio": 0.5} for number in range(MEMBERS)),
    "xgboost_regressor": tuple({"max_depth": 3, "learning_rate": 0.02 * (number + 1)} for number in range(MEMBERS)),
    "lightgbm_regressor": tuple({"num_leaves": 8, "learning_rate": 0.02 * (number + 1)} for number in range(MEMBERS)),
}
VARIETY = 4_096
"""Different rows of features; they come again and again."""


def _candidates(algorithm: str, ticker: str, seed: int) -> Iterator[Candidate]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * ROWS, len(FEATURES)))
    target = 0.002 * features[:, 0] + 0.01 * rng.normal(size=len(features))
    training = trainer(algorithm).prepare(features[:ROWS], target[:ROWS], FEATURES, seed=seed, threads=1)
    event_time = np.datetime64("2020-01-01", "us") + np.arange(ROWS) * np.timedelta64(60_000_000, "us")
    for number, configuration in enumerate(CONFIGURATIONS[algorithm]):
        (predictor,) = training.fit([configuration])
        yield Candidate(
            trial=f"t{number}",
            ticker=ticker,
            configuration=configuration,
            metric=1.0,
            fingerprint=f"{number:064x}",
            predictor=predictor,
            event_time=event_time,
            prediction=predictor.predict(features[ROWS:]),
            target=target[ROWS:],
            fold=np.arange(ROWS, dtype=np.int64) * 4 // ROWS,
            probe=features[-3:],
        )


def _profile(seed: int) -> Profile | None:
    """Of the features that the candidates of a seed were trained on."""
    return profile_of(np.random.default_rng(seed).normal(size=(2 * ROWS, len(FEATURES)))[:ROWS], FEATURES, WINDOW)


def assembled(ensemble: str, algorithm: str, artifacts: Path) -> dict[str, Any]:
    """The manifest of an ensemble on every ticker, kept with all that it names in a folder of artifacts."""
    candidates = [each for seed, ticker in enumerate(TICKERS) for each in _candidates(algorithm, ticker, seed)]
    draft = EnsembleDraft(
        ensemble=ensemble,
        experiment=f"bench_{algorithm}",
        algorithm=algorithm,
        timeframe=TIMEFRAME,
        terms=Terms(),
        calendar="24/7",
        candidates=tuple(candidates),
        voting="soft",
        threshold=0.7,
        exit_threshold=0.35,
        cost=dict.fromkeys(TICKERS, 0.0001),
        trained_through=datetime(2020, 1, 1, tzinfo=UTC),
        data_hash=dict.fromkeys(TICKERS, "d" * 64),
        profiles={ticker: profile for ticker in TICKERS if (profile := _profile(TICKERS.index(ticker)))},
    )
    return dict(EnsembleAssembler(Artifacts(artifacts)).assemble(draft).manifest)


def want(database_url: str, ensemble: str, manifest: dict[str, Any]) -> None:
    """Have the service that starts on this database deploy the ensemble."""
    asyncio.run(_want(database_url, ensemble, manifest))


async def _want(database_url: str, ensemble: str, manifest: dict[str, Any]) -> None:
    from serving.manifest import EnsembleManifest

    document = EnsembleManifest.model_validate_json(json.dumps(manifest))
    request = SearchRequest(
        request_id=ensemble, strategy="grid", algorithm=document.algorithm, tickers=TICKERS, name=ensemble
    )
    now = datetime.now(UTC)
    verdict = GateVerdict(
        passed=False,
        deflated_sharpe=None,
        active_deflated_sharpe=None,
        trials=MEMBERS,
        benchmark_sharpe=0.0,
        sharpe_ratio=None,
        sessions=0,
        required=0.95,
    )
    database = Database.open(database_url)
    await database.upgrade()
    try:
        async with database.transaction() as tx:
            admission = await requests.admit(
                tx,
                request,
                raw=request.model_dump_json().encode(),
                trials=MEMBERS,
                search_key=digest(ensemble),
                now=now,
            )
            assert isinstance(admission, requests.Accepted)
        for state in LINE[1 : LINE.index(State.SELECTED) + 1]:
            async with database.transaction() as tx:
                await experiments.advance(tx, admission.experiment, state, None, now)
        async with database.transaction() as tx:
            proposal = ensembles.Proposal(
                ensemble=ensemble,
                experiment=admission.experiment,
                manifest=document.document(),
                digest=document.digest,
                members=MEMBERS,
                mode="live",
                tickers=TICKERS,
                timeframe=TIMEFRAME,
                verdict=verdict,
            )
            await ensembles.propose(tx, proposal, now)
    finally:
        await database.close()


@dataclass
class Feed:
    """Ticks of every ticker, bar after bar, each bar once: `bar` is the next one, counted from `start`."""

    start: datetime
    bar: int
    _texts: Sequence[str]

    @classmethod
    def of(cls, start: datetime, bar: int = 0) -> "Feed":
        """A feed whose bars begin at a time; the same ticks whoever makes it."""
        rng = np.random.default_rng(7)
        texts = [
            json.dumps(dict(zip(FEATURES, row, strict=True)))
            for row in rng.normal(size=(VARIETY, len(FEATURES))).tolist()
        ]
        return cls(start, bar, texts)

    @classmethod
    def up_to_now(cls, bars: int) -> "Feed":
        """A feed of so many bars up to now."""
        return cls.of(datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=bars))

    @property
    def next_close(self) -> str:
        """When the next bar closes, as its ticks say it."""
        return format_instant(self.start + timedelta(minutes=self.bar))

    def bars(self, count: int) -> Iterator[list[tuple[str, bytes]]]:
        """The next bars: of each, key and value of every ticker's tick, available as it is taken."""
        for _ in range(count):
            closed = self.next_close
            known = format_instant(datetime.now(UTC))
            yield [
                (
                    ticker,
                    f'{{"ticker":"{ticker}","timeframe":"{TIMEFRAME}","event_time":"{closed}","available_at":"{known}",'
                    f'"features":{self._texts[(self.bar * len(TICKERS) + place) % VARIETY]}}}'.encode(),
                )
                for place, ticker in enumerate(TICKERS)
            ]
            self.bar += 1


def produce(config: dict[str, Any], feed: Feed, ticks: int) -> int:
    """Produce the feed's next ticks as fast as it goes, whole bars; how many."""
    producer = Producer(config | {"acks": "all", "linger.ms": 20, "partitioner": "murmur2_random"})
    sent = 0
    for together in feed.bars(ticks // len(TICKERS)):
        for key, value in together:
            while True:
                try:
                    producer.produce(FEATURE_TICKS.name, value, key, headers=TRACEPARENT)
                    break
                except BufferError:
                    producer.poll(0.05)
            sent += 1
    if producer.flush(60):
        raise RuntimeError("the broker did not take every tick")
    return sent

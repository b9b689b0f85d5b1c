"""What is said online is what is computed offline, bar by bar, in profit, and again when it is asked again."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from orchestrator.core.arrays import Floats
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Terms, prepare
from orchestrator.core.position import positions, without_edge
from orchestrator.core.profit import net_returns
from orchestrator.core.scoring import trade
from orchestrator.core.strength import calibrated
from orchestrator.features.parquet import ParquetFeatures
from schemas.envelope import decode, encode
from schemas.signals import Signal
from schemas.topics import FEATURE_TICKS, SIGNALS_REPLAY
from serving.answer import BatchAnswer, FeatureBatch, answer
from serving.artifacts import Artifacts
from serving.rolling import DAILY_SESSIONS
from serving.version import LoadedVersion, ServedVersion, load_version
from serving.voting import BPS
from streams.demo.outcome import held
from streams.replay import tick_of
from streams.source import Record
from tests.service import TICKERS, Service, is_signal_of, request

pytestmark = pytest.mark.slow

BARS = 340
ENSEMBLE = "echo"
EMITTED_AT = re.compile(rb'"emitted_at":"[^"]*"')


@dataclass(frozen=True)
class Played:
    """Bars that were played twice as replays, what was said of them, and the version that said it."""

    bars: Mapping[str, Bars]
    said: Mapping[str, list[bytes]]
    """By ticker, in order."""
    version: LoadedVersion

    def offline(self, ticker: str) -> BatchAnswer:
        """What the version says of a ticker's bars at once, its calibration rolled forward over all of them."""
        bars = self.bars[ticker]
        batch = FeatureBatch(
            timeframe=bars.timeframe,
            tickers=(ticker,) * len(bars),
            names=bars.feature_names,
            matrix=bars.features,
            event_time=bars.event_time,
            bound=np.zeros(len(bars), dtype=np.bool_),
        )
        said = answer(self.version, batch)
        return replace(said, score=_rolled(said, self.version.manifest.tickers[ticker].cost))

    def online(self, ticker: str) -> list[Signal]:
        """What was said of a ticker's bars the first time."""
        return [decode(Signal, value) for value in self.said[ticker][:BARS]]


@pytest.fixture(scope="module")
def played(service: Service) -> Played:
    deploy = {"auto": True, "ensemble_name": ENSEMBLE, "top_n": 2, "gate": False, "threshold": 0.5}
    story = service.follow(service.ask(**request(service, "echo-1", seed=9, deploy=deploy)), deploys=True)
    assert story.succeeded, story.reasons
    source = ParquetFeatures(service.settings.features_folder)
    every = {ticker: source.load(ticker, "1d") for ticker in TICKERS}
    start = {ticker: every[ticker].event_time[-BARS].item().replace(tzinfo=UTC) for ticker in TICKERS}
    bars = {
        ticker: ParquetFeatures(service.settings.features_folder, minimum_rows=BARS).load(
            ticker, "1d", start=start[ticker]
        )
        for ticker in TICKERS
    }
    for _ in range(2):
        now = datetime.now(UTC)
        ticks = [
            (ticker.encode(), encode(tick_of(own, row, now, "replay")))
            for ticker, own in bars.items()
            for row in range(BARS)
        ]
        service.produce(FEATURE_TICKS, ticks)
    records = service.await_records(
        SIGNALS_REPLAY, 2 * BARS * len(TICKERS), lambda record: is_signal_of(record, ENSEMBLE)
    )
    return Played(bars, _by_ticker(records), _version(service))


def _rolled(said: BatchAnswer, cost: float) -> Floats:
    """The scores of daily bars: each is a session, and is judged by the 250 before it."""
    opinion = said.opinion.copy()
    for row in range(1, len(opinion)):
        live = np.sort(said.raw[max(0, row - DAILY_SESSIONS) : row])
        share = len(live) / DAILY_SESSIONS
        opinion[row] = (1 - share) * said.opinion[row] + share * float(calibrated(said.raw[row : row + 1], live)[0])
    return without_edge(opinion, said.edge_bps / BPS, threshold=said.threshold, cost=cost)


def _by_ticker(records: list[Record]) -> dict[str, list[bytes]]:
    said: dict[str, list[bytes]] = defaultdict(list)
    for record in records:
        said[(record.key or b"").decode()].append(record.value or b"")
    return said


def _version(service: Service) -> LoadedVersion:
    path = str(service.settings.store_url).removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(path)) as database:
        found = "SELECT digest FROM ensembles WHERE ensemble = ? AND state = 'deployed'"
        (digest,) = database.execute(found, (ENSEMBLE,)).fetchone()
    return load_version(
        ServedVersion(ENSEMBLE, 1, digest, "live", "overridden"), Artifacts(service.settings.artifacts_folder)
    )


@pytest.mark.parametrize("ticker", TICKERS)
def test_a_signal_from_the_topic_is_the_one_computed_from_the_parquet(played: Played, ticker: str) -> None:
    offline, online = played.offline(ticker), played.online(ticker)
    assert [each.event_time for each in online] == [
        moment.replace(tzinfo=UTC) for moment in played.bars[ticker].event_time.astype("datetime64[us]").tolist()
    ]
    targets = positions(offline.score, threshold=offline.threshold, exit_threshold=offline.exit_threshold)
    for row, each in enumerate(online):
        assert each.score == pytest.approx(offline.score[row], rel=1e-12, nan_ok=True)
        assert each.edge_bps == pytest.approx(offline.edge_bps[row], rel=1e-12)
        assert [vote.predicted_return for vote in each.votes] == pytest.approx(offline.predictions[row], rel=1e-12)
        assert each.target_position == targets[row]
    assert len({each.target_position for each in online}) > 1
    assert online[0].calibration_id == offline.calibration_ids[ticker]
    assert len({each.calibration_id for each in online}) == BARS


@pytest.mark.parametrize("ticker", TICKERS)
def test_following_the_topic_earns_what_the_scorer_says(played: Played, ticker: str) -> None:
    offline, manifest = played.offline(ticker), played.version.manifest
    terms = Terms(
        transform=manifest.target_transform,
        horizon=manifest.horizon,
        execution=manifest.execution,
        session_policy=manifest.session_policy,
    )
    dataset, cost = prepare(played.bars[ticker], terms, calendar_named("XNYS")), manifest.tickers[ticker].cost
    rows = np.arange(len(dataset))
    scored = trade(
        dataset, rows, offline.score, threshold=offline.threshold, exit_threshold=offline.exit_threshold, cost=cost
    )
    decisions = [each.model_dump(mode="json") for each in played.online(ticker)]
    earned = net_returns(held(decisions, dataset.event_time), dataset.bar_return, cost)
    assert earned[scored.counted] == pytest.approx(scored.net[scored.counted], rel=1e-12, abs=1e-15)
    assert np.count_nonzero(earned[scored.counted]) > BARS / 10


@pytest.mark.parametrize("ticker", TICKERS)
def test_what_is_replayed_again_is_said_again_to_the_byte_but_for_when(played: Played, ticker: str) -> None:
    first, again = (
        [EMITTED_AT.sub(b"", each) for each in played.said[ticker][part]] for part in (slice(BARS), slice(BARS, None))
    )
    assert first == again
    assert len(first) == BARS

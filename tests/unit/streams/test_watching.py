"""The detectors on a real store: what they have seen counts once, whoever goes on, and begins anew with a version."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.drift import Watch
from orchestrator.store import retraining, watches
from orchestrator.store.database import Database
from schemas.policies import Policy
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS
from serving.artifacts import Artifacts
from streams.profiles import Profiles
from streams.source import Record
from streams.watching import Detectors
from tests.unit.streams.fakes import HOUR, NOW, bar, record
from tests.unit.streams.watched import NAMES, WINDOW, has_policy, rows, serves, ticks

LATER = NOW + 1000 * HOUR
"""After every bar that the tests tick by."""


@pytest_asyncio.fixture
async def watched(db: Database, tmp_path: Path) -> Database:
    """A store in which version 1 of `alpha` serves, and has a policy."""
    await serves(db, tmp_path, 1)
    await has_policy(db)
    return db


async def opened(db: Database, folder: Path) -> Detectors:
    return await Detectors.open(db, Profiles(Artifacts(folder / "artifacts")))


def read(values: Sequence[FeatureTick | bytes | None], first: int = 0) -> list[Record]:
    return [record(value, offset) for offset, value in enumerate(values, first)]


async def seen(db: Database, version: int = 1) -> dict[str, Watch]:
    async with db.snapshot() as tx:
        return await watches.of(tx, "alpha", version)


async def test_features_that_have_shifted_are_above_their_thresholds_window_after_window(
    watched: Database, tmp_path: Path
) -> None:
    detectors = await opened(watched, tmp_path)
    like, shifted = rows(2 * WINDOW), rows(2 * WINDOW, 1.5)
    await detectors.take(read([*ticks(like), *ticks(shifted, ticker="MSFT")]), LATER)
    found = await seen(watched)
    assert found["AAPL"].streaks == (0, 0, 0)
    assert found["MSFT"].streaks == (2, 2, 2)
    last = found["MSFT"].last
    assert last is not None
    assert (last.start, last.end) == (bar(WINDOW), bar(2 * WINDOW - 1))


async def test_what_was_read_counts_once_whatever_is_read_again_and_whoever_goes_on(
    watched: Database, tmp_path: Path
) -> None:
    everything = ticks(rows(WINDOW + 7))
    whole = await opened(watched, tmp_path)
    await whole.take(read(everything), LATER)
    expected = await seen(watched)
    again = await opened(watched, tmp_path)
    assert again.read_to == {(FEATURE_TICKS.name, 0): len(everything)}
    await again.take(read(everything[10:], first=len(everything)), LATER)
    assert await seen(watched) == expected


async def test_bar_by_bar_and_all_at_once_see_the_same(watched: Database, tmp_path: Path) -> None:
    everything = ticks(rows(WINDOW + 7, 0.3))
    for offset, each in enumerate(everything):
        detectors = await opened(watched, tmp_path)
        await detectors.take(read([each], first=offset), LATER)
    one_by_one = (await seen(watched))["AAPL"]
    await (await opened(watched, tmp_path)).take(
        read([each.model_copy(update={"ticker": "MSFT"}) for each in everything], first=len(everything)), LATER
    )
    assert (await seen(watched))["MSFT"] == one_by_one


async def test_what_was_seen_and_how_far_that_goes_are_written_together(
    watched: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors = await opened(watched, tmp_path)
    await detectors.take(read(ticks(rows(5))), LATER)
    before = await seen(watched)
    save = watches.save

    async def full(tx: AsyncSession, *what: object) -> None:
        await save(tx, *what)  # type: ignore[arg-type]
        raise OSError("the disk is full")

    monkeypatch.setattr(watches, "save", full)
    with pytest.raises(OSError, match="full"):
        await detectors.take(read(ticks(rows(5), first=5), first=5), LATER)
    assert await seen(watched) == before
    assert (await opened(watched, tmp_path)).read_to == {(FEATURE_TICKS.name, 0): 5}


async def test_only_final_bars_of_now_and_of_mode_live_count(watched: Database, tmp_path: Path) -> None:
    (one,) = ticks(rows(1))
    wrong = one.features | {NAMES[0]: None, "another": 3.0}
    passed_over = [
        one.model_copy(update={"mode": "replay"}),
        one.model_copy(update={"is_final": False}),
        one.model_copy(update={"timeframe": "1d"}),
        one.model_copy(update={"ticker": "IBM"}),
        one.model_copy(update={"event_time": LATER + HOUR}),
        None,
        b"{",
        b'{"ticker": "AAPL", "timeframe": "1h", "event_time": "2026-01-14T00:00:00Z", "features": {"rsi_14": "x"}}',
        b'{"ticker": "AAPL", "timeframe": "1h", "event_time": "never", "features": {}}',
    ]
    detectors = await opened(watched, tmp_path)
    await detectors.take(read(passed_over), LATER)
    assert await seen(watched) == {}
    await detectors.take(read([one.model_copy(update={"features": wrong})], first=9), LATER)
    (found,) = (await seen(watched)).values()
    # What is not known is counted in the last bin.
    assert [counts[-1] for counts in found.counts] == [1, 0, 0]
    assert np.sum(found.counts) == len(NAMES)


async def test_another_version_begins_anew_and_the_one_before_is_forgotten(watched: Database, tmp_path: Path) -> None:
    detectors = await opened(watched, tmp_path)
    await detectors.take(read(ticks(rows(5))), LATER)
    await serves(watched, tmp_path, 2)
    await detectors.mind()
    assert await seen(watched) == {}
    await detectors.take(read(ticks(rows(3), first=5), first=5), LATER)
    (found,) = (await seen(watched, 2)).values()
    assert np.sum(found.counts) == 3 * len(NAMES)


async def test_without_a_policy_on_drift_nothing_is_watched_nor_known_of_how_far(
    watched: Database, tmp_path: Path
) -> None:
    detectors = await opened(watched, tmp_path)
    assert detectors.since is not None
    await detectors.take(read(ticks(rows(5))), LATER)
    await has_policy(watched, Policy(max_age_days=3))
    await detectors.mind()
    assert detectors.read_to == {}
    async with watched.snapshot() as tx:
        assert (await watches.read(tx), await watches.everything(tx)) == ({}, {})
    async with watched.transaction() as tx:
        assert await retraining.remove_policy(tx, "alpha")
    await detectors.mind()
    assert (await opened(watched, tmp_path)).since is None


async def test_a_version_whose_profile_is_gone_is_not_watched_and_the_others_are(
    watched: Database, tmp_path: Path
) -> None:
    for path in (tmp_path / "artifacts").iterdir():
        path.unlink()
    detectors = await opened(watched, tmp_path)
    await detectors.take(read(ticks(rows(5))), LATER)
    assert await seen(watched) == {}

"""A request over features that are larger than memory leads where it leads over the same features in memory."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from orchestrator.core.arrays import Floats
from orchestrator.core.lifecycle import State
from orchestrator.search.course import Course
from orchestrator.search.driver import utc_now
from orchestrator.search.inline import InlineSearch
from orchestrator.store.database import Database
from schemas.experiments import Survivor, SurvivorsSelected
from schemas.search import Deploy
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from streams.child import Facts
from tests.integration.searching import Ended, admitted, ended, lead
from tests.ray_cluster import connected
from tests.unit.search.studies import NAMES, TRAINER, driver_settings, search_request, write_market

pytestmark = pytest.mark.slow

ROWS = 1200
REQUEST = search_request(
    holdout=60, deploy=Deploy(auto=True, ensemble_name="bot", top_n=2, gate=False), name="streamed"
)
REFUSED = search_request(
    algorithm="random_forest_regressor", param_grid={"n_estimators": (5,)}, request_id="refused", name="refused"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market in several files of small row groups, with a warm-up."""
    directory = tmp_path_factory.mktemp("streamed")
    write_market(directory / "features", "AAA", rows=ROWS)
    (file,) = (directory / "features" / "AAA" / "1d").iterdir()
    rows = pa.parquet.read_table(file)
    rows = rows.set_column(rows.column_names.index("noise"), "noise", [_without_beginning(rows["noise"])])
    file.unlink()
    for name, begin, stop in (("c", 0, 500), ("a", 500, 501), ("b", 501, ROWS)):
        pa.parquet.write_table(rows[begin:stop], file.with_name(f"{name}.parquet"), row_group_size=64)
    return directory


def _without_beginning(values: pa.ChunkedArray) -> pa.Array:
    numbers = values.to_numpy().copy()
    numbers[:20] = np.nan
    return pa.array(numbers)


@pytest.fixture(scope="module")
def streaming(directory: Path, ray_head: Facts) -> Iterator[dict[str, Ended]]:
    """Both requests led by drivers to which no row fits into memory."""
    with connected(ray_head):
        yield asyncio.run(lead(directory, {"streamed": REQUEST, "refused": REFUSED}, stream_above_mb=0))


@pytest.fixture(scope="module")
def in_memory(directory: Path) -> Ended:
    """The same request where all rows fit, without Ray."""
    apart = directory / "in_memory"
    apart.mkdir()
    (apart / "features").symlink_to(directory / "features")
    return asyncio.run(_led(apart))


async def _led(directory: Path) -> Ended:
    settings = driver_settings(directory)
    db = Database.open(settings.database_url)
    await db.upgrade()
    try:
        name = await admitted(db, REQUEST, 0)
        assembler = EnsembleAssembler(Artifacts(directory / "artifacts"))
        await Course(name, settings, InlineSearch(), assembler, db, utc_now).lead()
        return await ended(db, name)
    finally:
        await db.close()


def test_trials_are_the_same_with_the_same_predictions_and_metrics(
    streaming: dict[str, Ended], in_memory: Ended
) -> None:
    found = streaming["streamed"]
    assert len(found.trials) == 4
    for one, other in zip(found.trials, in_memory.trials, strict=True):
        assert (one.trial, one.fingerprint, one.data_hash) == (other.trial, other.fingerprint, other.data_hash)
        assert (one.status, one.eligible, one.reasons) == (other.status, other.eligible, other.reasons)
        assert one.metrics == pytest.approx(other.metrics, rel=1e-6)
        mine, theirs = found.histories[one.trial], in_memory.histories[other.trial]
        np.testing.assert_allclose(mine.prediction, theirs.prediction, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(mine.profit, theirs.profit, rtol=1e-6, atol=1e-12)


def test_survivors_and_their_verdict_are_the_same_hold_out_and_all(
    streaming: dict[str, Ended], in_memory: Ended
) -> None:
    found = streaming["streamed"]
    assert found.experiment.state is in_memory.experiment.state is State.DEPLOYING
    assert found.said == in_memory.said
    for one, other in zip(_survivors(found), _survivors(in_memory), strict=True):
        assert (one.trial, one.tickers, one.rank) == (other.trial, other.tickers, other.rank)
        assert one.metric == pytest.approx(other.metric, rel=1e-6)
    verdict, expected = found.experiment.verdict, in_memory.experiment.verdict
    assert verdict is not None
    assert expected is not None
    assert (verdict.passed, verdict.looks, verdict.trials) == (expected.passed, 1, 4)
    figures = ("deflated_sharpe", "active_deflated_sharpe", "holdout_psr", "benchmark_sharpe", "sharpe_ratio")
    for figure in figures:
        assert getattr(verdict, figure) == pytest.approx(getattr(expected, figure), rel=1e-4)


def _survivors(found: Ended) -> tuple[Survivor, ...]:
    (event,) = (event for event in found.experiment_events if event.event == "survivors_selected")
    assert isinstance(event, SurvivorsSelected)
    return event.survivors


def test_what_is_deployed_is_refitted_on_the_rows_that_go_by(
    streaming: dict[str, Ended], in_memory: Ended, directory: Path
) -> None:
    features = np.random.default_rng(1).normal(size=(50, len(NAMES)))
    predicted: list[list[Floats]] = []
    for place, found in ((directory, streaming["streamed"]), (directory / "in_memory", in_memory)):
        (version,) = found.versions
        models = [Artifacts(place / "artifacts").get(member["artifact"]) for member in version.manifest["members"]]
        predicted.append([TRAINER.load(model).predict(features) for model in models])
    assert len(predicted[0]) == 2
    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-9)


def test_nothing_is_left_of_the_predictions(streaming: dict[str, Ended], directory: Path) -> None:
    assert streaming["streamed"].experiment.state is State.DEPLOYING
    assert list((directory / "tune" / "streamed").iterdir()) == []


def test_a_family_that_cannot_stream_is_refused_with_its_reason(streaming: dict[str, Ended]) -> None:
    refused = streaming["refused"]
    assert refused.said == ["accepted", "failed"]
    assert [(reason.code, reason.where) for reason in refused.experiment.reasons] == [("larger_than_memory", "AAA/1d")]

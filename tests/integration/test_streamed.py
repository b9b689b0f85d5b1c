"""A search over features that go by finds what the search over features in memory finds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.streaming import stream
from orchestrator.search.evaluation import Ground
from orchestrator.search.inline import InlineSearch
from orchestrator.search.outcomes import Failed, Outcome, Scored
from orchestrator.search.streamed import StreamedWalk, shared
from orchestrator.search.study import Study, study_of
from streams.child import Facts
from tests.ray_cluster import connected
from tests.unit.search.studies import NAMES, TRAINER, campaign_of, driver_settings, search_request, study, write_market

pytestmark = [
    pytest.mark.slow,
    # Ray Data sets deprecated options of its own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

ROWS = 1200


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A market in several files of small row groups, with a warm-up, and the study of it."""
    directory = tmp_path_factory.mktemp("streamed")
    write_market(directory / "features", "AAA", rows=ROWS)
    (file,) = (directory / "features" / "AAA" / "1d").iterdir()
    rows = pa.parquet.read_table(file)
    rows = rows.set_column(rows.column_names.index("noise"), "noise", [_without_beginning(rows["noise"])])
    file.unlink()
    for name, begin, stop in (("c", 0, 500), ("a", 500, 501), ("b", 501, ROWS)):
        pa.parquet.write_table(rows[begin:stop], file.with_name(f"{name}.parquet"), row_group_size=64)
    return directory, study(directory, search_request(holdout=60))


def _without_beginning(values: pa.ChunkedArray) -> pa.Array:
    numbers = values.to_numpy().copy()
    numbers[:20] = np.nan
    return pa.array(numbers)


@pytest.fixture(scope="module")
def streaming(in_memory: tuple[Path, Study], ray_head: Facts) -> Iterator[Study]:
    """The same study over a stream, with Ray there to read it."""
    directory, work = in_memory
    with connected(ray_head):
        bars, features = stream(ParquetFeatures(directory / "features"), "AAA", "1d")
        found = study_of(work.request, {"AAA": bars}, TRAINER, driver_settings(directory), {"AAA": features})
        yield replace(found, grounds={"AAA": shared(found.grounds["AAA"])})


def searched(directory: Path, work: Study, search: object) -> list[Scored]:
    told: list[Outcome] = []
    assert callable(search)
    search("streamed", campaign_of(directory, work), TRAINER, work.grounds, work.rules, told.append)
    assert not [outcome for outcome in told if isinstance(outcome, Failed)]
    return sorted((outcome for outcome in told if isinstance(outcome, Scored)), key=lambda scored: scored.trial)


def test_a_streamed_search_on_tune_gives_the_same_predictions_and_metrics(
    in_memory: tuple[Path, Study], streaming: Study
) -> None:
    from orchestrator.search.tuner import TuneSearch

    directory, work = in_memory
    assert streaming.data_hash == work.data_hash
    assert streaming.grounds["AAA"].dataset.features.size == 0
    expected = searched(directory, work, InlineSearch())
    found = searched(directory, streaming, TuneSearch(driver_settings(directory)))
    assert [scored.trial for scored in found] == [scored.trial for scored in expected]
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one.prediction), np.asarray(other.prediction), rtol=1e-6, atol=1e-9)
        assert one.metrics == pytest.approx(other.metrics, rel=1e-6)
        assert (one.eligible, one.reasons) == (other.eligible, other.reasons)
        np.testing.assert_allclose(one.earned[0].profit, other.earned[0].profit, rtol=1e-6, atol=1e-12)


def test_survivors_are_refitted_on_the_rows_that_go_by(in_memory: tuple[Path, Study], streaming: Study) -> None:
    ground: Ground = in_memory[1].grounds["AAA"]
    known = np.isfinite(ground.dataset.target)
    whole = TRAINER.prepare(ground.dataset.features[known], ground.dataset.target[known], NAMES, seed=0, threads=1)
    configuration = {"alpha": 0.01, "l1_ratio": 0.1}
    (expected,) = whole.fit([configuration])
    (found,) = StreamedWalk(TRAINER, streaming.grounds["AAA"]).refit([configuration])
    features = ground.dataset.features
    np.testing.assert_allclose(found.predict(features), expected.predict(features), rtol=1e-9)

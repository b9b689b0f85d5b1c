from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from orchestrator.core.errors import Refused
from orchestrator.core.metrics import OBJECTIVE
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.plan import Stage
from orchestrator.search.reading import load, read
from orchestrator.search.study import Study, study_of
from schemas.search import Costs
from tests.unit.search.studies import (
    ROWS,
    TRAINER,
    bars,
    driver_settings,
    search_request,
    steps_of,
    study,
    write_market,
)


def fingerprints(directory: Path, work: Study) -> set[str]:
    return {step.trial.fingerprint for step in steps_of(directory, work)}


def test_no_trial_sees_the_hold_out_or_a_target_that_reaches_into_it(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(holdout=60))
    seen, holdout = work.grounds["AAA"].dataset, work.holdouts["AAA"]
    assert len(seen) == holdout.start == ROWS - 60
    assert np.isnan(seen.target[-2:]).all()
    assert np.isfinite(holdout.dataset.target[holdout.start - 2 :][:2]).all()
    assert len(np.unique(holdout.dataset.session[holdout.start :])) == 60


def test_the_hold_out_changes_the_data_hash_and_so_every_fingerprint(tmp_path: Path) -> None:
    without, with_holdout = study(tmp_path, search_request()), study(tmp_path, search_request(holdout=60))
    assert without.data_hash == {"AAA": bars(tmp_path, search_request())["AAA"].data_hash}
    assert without.data_hash != with_holdout.data_hash
    assert fingerprints(tmp_path, without).isdisjoint(fingerprints(tmp_path, with_holdout))


def test_trials_of_different_tickers_have_different_fingerprints(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(("AAA", "BBB")))
    assert len(fingerprints(tmp_path, work)) == len(steps_of(tmp_path, work)) == 8


def test_the_same_request_plans_the_same_trials(tmp_path: Path) -> None:
    first, second = (steps_of(tmp_path, study(tmp_path, search_request())) for _ in range(2))
    assert [step.trial for step in first] == [step.trial for step in second]


def test_a_trial_that_is_cut_short_is_other_work(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    (trial, *_) = (step.trial for step in steps_of(tmp_path, work))
    stages = [Stage(trial.configuration, budget) for budget in (None, 11, 33)]
    found = {work.fingerprint(trial, (stage,)) for stage in stages} | {work.fingerprint(trial, stages[1:])}
    assert len(found) == 4


def test_of_a_multi_ticker_search_a_trial_is_compared_by_its_objective(tmp_path: Path) -> None:
    request = search_request(("AAA", "BBB"), strategy="multi_ticker_pbt", param_grid=None, population_size=2)
    work = study(tmp_path, request)
    assert (work.together, work.metric, work.rules.metric) == (True, OBJECTIVE, "sharpe_ratio")
    assert [step.trial.tickers for step in steps_of(tmp_path, work)] == [("AAA", "BBB")] * 2


def test_a_ticker_without_opens_makes_all_tickers_trade_at_the_close(tmp_path: Path) -> None:
    request = search_request(("AAA", "BBB"))
    assert study(tmp_path, request).terms.execution == "next_open"
    path = tmp_path / "features" / "BBB" / "1d" / "bars.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(["open"]), path)
    assert study(tmp_path, request).terms.execution == "next_close"


def test_a_feature_that_knows_the_future_is_refused_by_name_before_anything_is_trained(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA", edge=0.9)
    with pytest.raises(Refused) as refusal:
        study(tmp_path, search_request())
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [
        ("knows_the_future", "AAA/1d/momentum")
    ]


def test_a_feature_that_goes_by_and_knows_the_future_is_refused_by_name(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA", edge=0.9)
    request = search_request()
    with pytest.raises(Refused) as expected:
        study(tmp_path, request)
    read_bars, streams = read(ParquetFeatures(tmp_path / "features"), request, TRAINER, memory=2**30, stream_above=0)
    with pytest.raises(Refused) as refusal:
        study_of(request, read_bars, TRAINER, driver_settings(tmp_path), streams, tmp_path)
    assert refusal.value.reasons == expected.value.reasons


def test_each_ticker_has_its_own_cost(tmp_path: Path) -> None:
    request = search_request(("AAA", "BBB"), costs=Costs(default_bps=1.0, per_ticker_bps={"BBB": 5.0}))
    work = study(tmp_path, request)
    assert {ticker: ground.cost for ticker, ground in work.grounds.items()} == {"AAA": 0.0001, "BBB": 0.0005}


def test_the_faults_of_all_tickers_are_named_at_once(tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA", rows=120)
    write_market(tmp_path / "features", "BBB", rows=120)
    request = search_request(("AAA", "BBB"), holdout=200)
    with pytest.raises(Refused) as refusal:
        study_of(request, bars(tmp_path, request), TRAINER, driver_settings(tmp_path))
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [
        ("holdout_too_long", "AAA 1d"),
        ("holdout_too_long", "BBB 1d"),
    ]


def test_every_ticker_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        load(ParquetFeatures(tmp_path), search_request(("AAA", "BBB")))
    assert [reason.where.split("/")[0] for reason in refusal.value.reasons] == ["AAA", "BBB"]

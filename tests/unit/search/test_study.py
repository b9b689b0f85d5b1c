from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from orchestrator.core.errors import Refused
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.study import load, study_of
from schemas.search import Costs
from tests.unit.search.studies import ROWS, TRAINER, bars, driver_settings, search_request, study, write_market


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
    assert {trial.fingerprint for trial in without.trials}.isdisjoint(
        trial.fingerprint for trial in with_holdout.trials
    )


def test_trials_of_different_tickers_have_different_fingerprints(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(("AAA", "BBB")))
    assert len({trial.fingerprint for trial in work.trials}) == len(work.trials) == 8


def test_the_same_request_plans_the_same_trials(tmp_path: Path) -> None:
    assert study(tmp_path, search_request()).trials == study(tmp_path, search_request()).trials


def test_a_ticker_without_opens_makes_all_tickers_trade_at_the_close(tmp_path: Path) -> None:
    request = search_request(("AAA", "BBB"))
    assert study(tmp_path, request).terms.execution == "next_open"
    path = tmp_path / "features" / "BBB" / "1d" / "bars.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(["open"]), path)
    assert study(tmp_path, request).terms.execution == "next_close"


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

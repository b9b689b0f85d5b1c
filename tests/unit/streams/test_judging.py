from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.admission import Limits
from orchestrator.core.errors import Refused
from schemas.search import SearchRequest
from streams.judging import Judge
from tests.unit.streams.fakes import reasons_in

NOW = datetime(2026, 1, 15, tzinfo=UTC)
BARS = {"1d": {"AAPL", "MSFT"}, "1h": {"AAPL"}}
JUDGE = Judge(
    tickers=lambda timeframe: BARS.get(timeframe, set()),
    algorithms={"elasticnet": ElasticNetTrainer()},
    limits=Limits(digits=6),
)


def request(**fields: Any) -> SearchRequest:
    asked: dict[str, Any] = {
        "request_id": "r1",
        "strategy": "grid",
        "algorithm": "elasticnet",
        "tickers": ("AAPL", "MSFT"),
        "param_grid": {"alpha": (0.01, 0.02, 0.03), "l1_ratio": (0.1, 0.9)},
    }
    return SearchRequest(**(asked | fields))


def test_the_trials_of_a_request_are_its_configurations_on_each_ticker() -> None:
    assert JUDGE(request(), NOW).trials == 6 * 2
    default = ElasticNetTrainer().default_grid
    configurations = 1
    for values in default.values():
        configurations *= len(values)
    assert JUDGE(request(param_grid=None), NOW).trials == configurations * 2


def test_the_same_work_has_the_same_key_whatever_it_is_called() -> None:
    assert JUDGE(request(), NOW).search_key == JUDGE(request(request_id="r2", name="mine"), NOW).search_key
    assert JUDGE(request(), NOW).search_key != JUDGE(request(seed=7), NOW).search_key


def test_what_a_request_leaves_open_is_part_of_its_key() -> None:
    other = Judge(JUDGE.tickers, JUDGE.algorithms, Limits(metric="sortino_ratio", digits=6))
    assert JUDGE(request(), NOW).search_key != other(request(), NOW).search_key
    assert JUDGE(request(metric="sortino_ratio"), NOW).search_key == other(request(), NOW).search_key


def test_tickers_are_looked_up_by_the_timeframe_asked_for() -> None:
    with pytest.raises(Refused) as refusal:
        JUDGE(request(timeframe="1h"), NOW)
    assert [reason.where for reason in refusal.value.reasons] == ["tickers/MSFT"]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(Refused) as refusal:
        JUDGE(request(strategy="pbt", algorithm="oracle", tickers=("IBM",)), NOW)
    assert set(reasons_in(refusal.value)) == {"unknown_algorithm", "unknown_ticker", "not_for_strategy"}

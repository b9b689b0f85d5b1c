import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from orchestrator.core.canonical import canonical_json, digest, fingerprint, lineage_key, search_key
from orchestrator.core.dataset import Terms
from orchestrator.core.splits import FoldPlan
from schemas.base import Scalar
from schemas.search import SearchRequest

REQUEST = {
    "request_id": "r1",
    "strategy": "grid",
    "algorithm": "elasticnet",
    "tickers": ["AAPL", "MSFT"],
    "param_grid": {"alpha": [0.1, 0.2], "l1_ratio": [0.5]},
}
FINGERPRINT: dict[str, Any] = {
    "algorithm": "elasticnet",
    "algorithm_version": "1",
    "data_hash": "0" * 64,
    "ticker": "AAPL",
    "timeframe": "1d",
    "terms": Terms(),
    "folds": FoldPlan(),
    "cost": 0.0002,
    "threshold": 0.7,
    "exit_threshold": 0.35,
    "seed": 42,
    "calendar": "XNYS",
}


def of(configuration: Mapping[str, Scalar], **changed: object) -> str:
    described: Callable[..., str] = partial(fingerprint, configuration)
    return described(**{**FINGERPRINT, **changed})


def key(**changed: object) -> str:
    request = SearchRequest.model_validate_json(json.dumps({**REQUEST, **changed}))
    return search_key(request, algorithm_version="1")


def test_nested_mappings_are_flattened_and_keys_sorted() -> None:
    assert canonical_json({"b": 1, "a": {"y": [1.0, None], "x": "é"}}) == '{"a/x":"é","a/y":[1,null],"b":1}'


def test_keys_with_a_slash_do_not_meet_nested_ones() -> None:
    assert digest({"a/b": 1}) != digest({"a": {"b": 1}})
    assert digest({"a~1b": 1}) != digest({"a/b": 1})
    assert digest({"a": {}}) != digest({})


def test_floats_have_significant_digits_not_decimal_places() -> None:
    assert canonical_json(0.123456789) == "0.12346"
    assert canonical_json(0.123456789, 3) == "0.123"
    assert canonical_json(1e-6) != canonical_json(4e-6)
    assert canonical_json(-0.0) == canonical_json(0) == "0"


def test_one_is_one_point_nought_and_true_is_neither() -> None:
    assert canonical_json(1) == canonical_json(1.0) == canonical_json(np.float64(1.0)) == canonical_json(np.int64(1))
    assert canonical_json(0.9999999) == "1"
    assert canonical_json(True) == "true" != canonical_json(1)
    assert canonical_json("1") != canonical_json(1)


def test_integers_keep_every_digit() -> None:
    assert canonical_json(2_147_483_647) == canonical_json(2_147_483_647.0) == "2147483647"
    assert canonical_json(1e300) == "1e+300"
    assert canonical_json(-1.7976931348623157e308) == "-1.7976931348623157e+308"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="no canonical form"):
        canonical_json({"a": value})


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="set has no canonical form"):
        canonical_json({"a": {1, 2}})
    with pytest.raises(TypeError, match="not a string"):
        canonical_json({1: 2})


@pytest.mark.parametrize(
    "changed",
    [
        {"algorithm": "ridge"},
        {"algorithm_version": "2"},
        {"data_hash": "1" * 64},
        {"ticker": "MSFT"},
        {"timeframe": "1h"},
        {"terms": Terms(horizon=2)},
        {"terms": Terms(execution="next_close")},
        {"folds": FoldPlan(folds=5)},
        {"cost": 0.0003},
        {"threshold": 0.6},
        {"exit_threshold": 0.3},
        {"seed": 43},
        {"calendar": "24/7"},
        {"objective": ("psr", "max")},
        {"stages": [({"alpha": 0.1}, 10)]},
        {"stages": [({"alpha": 0.1}, 10), ({"alpha": 0.2}, 20)]},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_everything_that_changes_a_result_changes_the_fingerprint(changed: dict[str, object]) -> None:
    assert of({"alpha": 0.1}) != of({"alpha": 0.1}, **changed)


def test_the_same_configuration_has_the_same_fingerprint_however_it_is_written() -> None:
    assert of({"alpha": 0.1, "l1_ratio": 1}) == of({"l1_ratio": 1.0, "alpha": 0.1000000001})
    assert of({"alpha": 0.1}) != of({"alpha": 0.2})


@pytest.mark.parametrize(
    "changed",
    [
        {"request_id": "r2"},
        {"name": "mine"},
        {"deploy": {"auto": True, "top_n": 3}},
        {"priority": 9},
        {"resume": True},
        {"expires_at": "2030-01-01T00:00:00Z"},
        {"requested_by": "someone"},
        {"cause": {"trigger": "drift"}},
        {"parent": "earlier"},
        {"tickers": ["MSFT", "AAPL"]},
        {"param_grid": {"l1_ratio": [0.5], "alpha": [0.2, 0.1, 0.1]}},
        {"horizon": 1},
        {"session_policy": "hold"},
        {"costs": {"default_bps": 2.0, "per_ticker_bps": {"AAPL": 2, "GOOG": 9}}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_search_key_leaves_out_what_does_not_change_the_work(changed: dict[str, object]) -> None:
    assert key() == key(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"tickers": ["AAPL"]},
        {"timeframe": "1h"},
        {"horizon": 5},
        {"param_grid": {"alpha": [0.1], "l1_ratio": [0.5]}},
        {"param_grid": None},
        {"seed": 1},
        {"holdout": 60},
        {"metric": "psr"},
        {"costs": {"per_ticker_bps": {"AAPL": 3}}},
        {"data_end": "2012-01-01T00:00:00Z"},
        {"target_transform": "return"},
        {"execution": "same_close"},
        {"exit_threshold": 0.1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_search_key_has_everything_that_changes_the_work(changed: dict[str, object]) -> None:
    assert key() != key(**changed)


def test_spelling_out_a_default_is_the_same_work() -> None:
    silent = SearchRequest.model_validate_json(json.dumps({**REQUEST, "param_grid": None}))
    spelled = SearchRequest.model_validate_json(json.dumps({**REQUEST, "metric": "sharpe_ratio"}))
    defaults = {"metric": "sharpe_ratio", "param_grid": {"alpha": (0.2, 0.1), "l1_ratio": (0.5,)}}
    assert search_key(silent, algorithm_version="1", defaults=defaults) == search_key(
        spelled, algorithm_version="1", defaults=defaults
    )


def test_the_search_key_knows_the_algorithm_version_and_the_bars() -> None:
    request = SearchRequest.model_validate_json(json.dumps(REQUEST))
    keys = {
        search_key(request, algorithm_version="1"),
        search_key(request, algorithm_version="2"),
        search_key(request, algorithm_version="1", data_hash={"AAPL": "0" * 64}),
        search_key(request, algorithm_version="1", data_hash={"AAPL": "1" * 64}),
    }
    assert len(keys) == 4


def test_a_lineage_is_the_ticker_the_timeframe_and_the_target() -> None:
    base = lineage_key("AAPL", timeframe="1d", terms=Terms())
    assert base == lineage_key("AAPL", timeframe="1d", terms=Terms(execution="same_close"))
    assert base != lineage_key("MSFT", timeframe="1d", terms=Terms())
    assert base != lineage_key("AAPL", timeframe="1h", terms=Terms())
    assert base != lineage_key("AAPL", timeframe="1d", terms=Terms(horizon=2))
    assert base != lineage_key("AAPL", timeframe="1d", terms=Terms(transform="return"))

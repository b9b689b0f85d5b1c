"""Models in the libraries' own formats."""

import warnings
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from orchestrator.algorithms.base import MalformedModel
from orchestrator.algorithms.formats import format_of, probe, read_model
from tests.unit.algorithms.test_pickles import FEATURES, NAMES, TARGET, dumped
from tests.unit.serving.drafts import candidate


def _boosted() -> list[tuple[str, bytes, Any]]:
    with warnings.catch_warnings(action="ignore"):
        tree = xgboost.XGBRegressor(n_estimators=3, max_depth=2, n_jobs=1).fit(FEATURES, TARGET)
        light = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1).fit(FEATURES, TARGET)
        expected = light.predict(FEATURES)
    booster = tree.get_booster()
    return [
        ("xgboost", bytes(booster.save_raw("ubj")), tree.predict(FEATURES)),
        ("xgboost", bytes(booster.save_raw("json")), tree.predict(FEATURES)),
        ("joblib", dumped(tree), tree.predict(FEATURES)),
        ("lightgbm", light.booster_.model_to_string().encode(), expected),
        ("joblib", dumped(light), expected),
    ]


def test_boosted_trees_predict_what_they_did_in_each_format() -> None:
    for kind, content, expected in _boosted():
        assert format_of(content) == kind
        read = read_model(format_of(content), content, "trees", NAMES)
        probe(read)
        assert np.array_equal(read.predict(FEATURES), expected)
        assert read.dump() == content


def test_a_sealed_predictor_is_read_by_its_algorithm() -> None:
    predictor = candidate("t1").predictor
    content = predictor.dump()
    assert format_of(content) == "sealed"
    assert read_model("sealed", content, "elasticnet", None).feature_names == predictor.feature_names
    for algorithm, names in (("xgboost_regressor", None), ("elasticnet", ("other",))):
        with pytest.raises(MalformedModel):
            read_model("sealed", content, algorithm, names)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("xgboost", b""),
        ("xgboost", b"{"),
        ("xgboost", b'{"learner": 1}'),
        ("xgboost", b"{L"),
        ("lightgbm", b"tree\nx"),
        ("lightgbm", b"\xff"),
        ("sealed", b"{}"),
    ],
)
def test_what_a_library_does_not_read_is_refused(kind: Any, content: bytes) -> None:
    with pytest.raises(MalformedModel):
        read_model(kind, content, "elasticnet", NAMES)


def test_features_that_the_file_does_not_name_have_to_be() -> None:
    (_, content, _), *_ = _boosted()
    for names, code in (
        (None, "features_unknown"),
        (NAMES[:2], "features_differ"),
        (("a", "a", "b"), "features_differ"),
    ):
        with pytest.raises(MalformedModel) as refused:
            read_model("xgboost", content, "trees", names)
        assert [reason.code for reason in refused.value.reasons] == [code]

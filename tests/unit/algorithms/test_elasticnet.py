import json
from collections.abc import Sequence

import numpy as np
import pytest

from orchestrator.algorithms import penalised
from orchestrator.algorithms.base import CannotTrain, Configuration, MalformedModel
from orchestrator.algorithms.elasticnet import ElasticNetPredictor, ElasticNetTrainer
from orchestrator.core.arrays import Floats

TRAINER = ElasticNetTrainer()
NAMES = ("a", "b", "c", "d", "e", "f")
PREDICTOR = ElasticNetPredictor(NAMES[:3], (0.5, -2.0, 0.0), 0.125)


def planted(rows: int = 400, seed: int = 1) -> tuple[Floats, Floats]:
    """Features of very different sizes, and a target that the first two explain in part."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 3)) * [1.0, 1e-4, 1e4] + [5.0, 0.0, -3e4]
    return features, 0.01 * features[:, 0] - 50.0 * features[:, 1] + rng.normal(0.0, 0.02, rows)


def fit(
    configurations: Sequence[Configuration], features: Floats, target: Floats, budget: int | None = None
) -> tuple[ElasticNetPredictor, ...]:
    training = TRAINER.prepare(features, target, NAMES[: features.shape[1]], seed=0, threads=1)
    return training.fit(configurations, budget=budget)


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({"alpha": 0.01, "l1_ratio": 0.5}, []),
        ({"alpha": 1e-6, "l1_ratio": 0}, []),
        ({"alpha": 100, "l1_ratio": 1}, []),
        ({}, [("missing_parameter", "alpha"), ("missing_parameter", "l1_ratio")]),
        (
            {"alpha": 0.0, "l1_ratio": 1.1},
            [("parameter_out_of_range", "alpha"), ("parameter_out_of_range", "l1_ratio")],
        ),
        (
            {"alpha": -0.01, "l1_ratio": -0.1},
            [("parameter_out_of_range", "alpha"), ("parameter_out_of_range", "l1_ratio")],
        ),
        ({"alpha": float("inf"), "l1_ratio": 0.5}, [("parameter_out_of_range", "alpha")]),
        ({"alpha": float("nan"), "l1_ratio": 0.5}, [("parameter_not_a_number", "alpha")]),
        (
            {"alpha": True, "l1_ratio": "0.5"},
            [("parameter_not_a_number", "alpha"), ("parameter_not_a_number", "l1_ratio")],
        ),
        ({"alpha": 0.01, "l1_ratio": 0.5, "depth": 3}, [("unknown_parameter", "depth")]),
        ({"alhpa": 0.01, "l1_ratio": 0.5}, [("unknown_parameter", "alhpa"), ("missing_parameter", "alpha")]),
    ],
)
def test_every_fault_of_a_configuration_is_named(configuration: Configuration, expected: list[tuple[str, str]]) -> None:
    assert [(reason.code, reason.where) for reason in TRAINER.refuse(configuration)] == expected


def test_what_the_features_explain_is_found_in_their_own_units() -> None:
    features, target = planted(4000)
    (predictor,) = fit([{"alpha": 1e-4, "l1_ratio": 0.5}], features, target)
    assert predictor.coefficients[0] == pytest.approx(0.01, rel=0.1)
    assert predictor.coefficients[1] == pytest.approx(-50.0, rel=0.2)
    assert predictor.coefficients[2] == pytest.approx(0.0, abs=1e-7)
    assert predictor.predict(features).mean() == pytest.approx(target.mean())


def test_alpha_is_in_units_of_the_targets_deviation() -> None:
    features, target = planted()
    grid = [{"alpha": 0.1, "l1_ratio": 0.5}]
    (one,), (other,) = fit(grid, features, target), fit(grid, features * 1000.0, target * 1000.0)
    np.testing.assert_allclose(other.predict(features * 1000.0), one.predict(features) * 1000.0, rtol=1e-9)


@pytest.mark.parametrize("l1_ratio", [0.1, 0.5, 1.0])
def test_above_the_largest_correlation_over_l1_ratio_nothing_is_left_but_the_mean(l1_ratio: float) -> None:
    features, target = planted()
    strongest = max(abs(np.corrcoef(column, target)[0, 1]) for column in features.T)
    above, below = ({"alpha": factor * strongest / l1_ratio, "l1_ratio": l1_ratio} for factor in (1.001, 0.999))
    nothing, something = fit([above, below], features, target)
    assert nothing.coefficients == (0.0, 0.0, 0.0)
    assert nothing.intercept == pytest.approx(target.mean())
    assert any(something.coefficients)


def test_a_feature_that_is_constant_in_training_gets_no_coefficient() -> None:
    features, target = planted()
    features[:, 1] = 0.1
    for predictor in fit([{"alpha": 0.001, "l1_ratio": l1_ratio} for l1_ratio in (0.0, 0.5)], features, target):
        assert predictor.coefficients[1] == 0.0


def test_a_target_that_is_constant_is_predicted_as_it_is() -> None:
    features, _ = planted()
    grid = [{"alpha": 0.001, "l1_ratio": l1_ratio} for l1_ratio in (0.0, 0.5)]
    for predictor in fit(grid, features, np.full(400, 0.25)):
        assert (predictor.predict(features) == 0.25).all()


@pytest.mark.parametrize("difference", [0.0, 1e-8, 1e-4, 1e-2])
def test_features_that_repeat_others_are_no_obstacle(difference: float) -> None:
    features, target = planted()
    noise = np.random.default_rng(0).normal(size=features.shape) * features.std(axis=0)
    repeated = np.column_stack([features, features + difference * noise])
    grid = [{"alpha": alpha, "l1_ratio": l1_ratio} for alpha in (1e-6, 1e-3) for l1_ratio in (0.0, 0.001, 0.5, 1.0)]
    assert np.isfinite(TRAINER.predictions(fit(grid, repeated, target), repeated)).all()


def test_a_configuration_without_a_solution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalised, "EXCHANGES", 0)
    monkeypatch.setattr(penalised, "STEPS", 0)
    features, target = planted()
    grid = [{"alpha": 1e-5, "l1_ratio": 0.0}, {"alpha": 1e-5, "l1_ratio": 1.0}]
    with pytest.raises(CannotTrain) as refusal:
        fit(grid, features, target)
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [("not_converged", "configurations[1]")]


def test_where_exchanging_blocks_does_not_settle_single_steps_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, target = planted()
    grid = [{"alpha": alpha, "l1_ratio": l1_ratio} for alpha in (1e-5, 1e-2, 0.3) for l1_ratio in (0.1, 1.0)]
    expected = TRAINER.predictions(fit(grid, features, target), features)
    monkeypatch.setattr(penalised, "EXCHANGES", 0)
    found = TRAINER.predictions(fit(grid, features, target), features)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * target.std())


def test_features_too_large_to_square_are_an_error_of_every_configuration() -> None:
    features, target = planted()
    features[0, 0] = 1e300
    with pytest.raises(CannotTrain) as refusal:
        fit([{"alpha": 0.01, "l1_ratio": 0.5}, {"alpha": 0.01, "l1_ratio": 0.0}], features, target)
    assert [reason.code for reason in refusal.value.reasons] == ["not_converged", "not_converged"]


def test_a_budget_is_the_latest_share_of_the_rows() -> None:
    features, target = planted()
    grid = [{"alpha": 0.01, "l1_ratio": 0.5}]
    for percent, first in ((100, 0), (25, 300), (1, 396), (33, 268)):
        (found,), (expected,) = fit(grid, features, target, percent), fit(grid, features[first:], target[first:])
        np.testing.assert_allclose(found.predict(features), expected.predict(features), rtol=0, atol=1e-12)


def test_a_prediction_is_the_intercept_and_the_weighted_features() -> None:
    rows = np.array([[1.0, 0.25, 9.0], [0.0, 0.0, 0.0], [1.0, 1.0, np.nan], [np.inf, 1.0, 1.0], [1e308, -1e308, 1.0]])
    np.testing.assert_array_equal(PREDICTOR.predict(rows), [0.125, 0.125, np.nan, np.nan, np.nan])
    assert PREDICTOR.predict(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 4)])
def test_rows_of_another_width_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(n, 3\)"):
        PREDICTOR.predict(np.zeros(shape))


def test_a_dumped_predictor_is_canonical_json() -> None:
    assert PREDICTOR.dump() == (
        b'{"algorithm":"elasticnet","coefficients":[0.5,-2.0,0.0],"feature_names":["a","b","c"],'
        b'"intercept":0.125,"version":"1"}'
    )
    assert TRAINER.load(PREDICTOR.dump()) == PREDICTOR


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"algorithm": "xgboost"}, "algorithm"),
        ({"version": "2"}, "version"),
        ({"coefficients": [1.0, 2.0]}, ""),
        ({"feature_names": ["a", "b", "b"]}, ""),
        ({"feature_names": ["a", "b", "c d"]}, "feature_names.2"),
        ({"coefficients": [1.0, "2", 3.0]}, "coefficients.1"),
        ({"coefficients": [1.0, None, 3.0]}, "coefficients.1"),
        ({"intercept": float("nan")}, "intercept"),
        ({"intercept": float("inf")}, "intercept"),
        ({"more\x00": 1}, r"more\x00"),
    ],
)
def test_a_predictor_that_was_tampered_with_is_refused(change: dict[str, object], where: str) -> None:
    stored = json.dumps(json.loads(PREDICTOR.dump()) | change).encode()
    with pytest.raises(MalformedModel) as refusal:
        ElasticNetPredictor.load(stored)
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [("malformed_model", where)]


@pytest.mark.parametrize("dumped", [b"", b"{}", b"null", b"[1", b"\xff\xfe", b"\x80\x04K\x01.", PREDICTOR.dump()[:-1]])
def test_bytes_that_are_no_predictor_are_refused(dumped: bytes) -> None:
    with pytest.raises(MalformedModel):
        ElasticNetPredictor.load(dumped)

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.preprocessing import StandardScaler

from orchestrator.algorithms.base import MalformedModel
from orchestrator.algorithms.elasticnet import LIMITS, ElasticNetPredictor, ElasticNetTrainer
from orchestrator.algorithms.walk import Walk
from orchestrator.core.arrays import Floats
from orchestrator.core.splits import Fold, purged_walk_forward
from tests.examples import at_most

pytestmark = pytest.mark.slow

TRAINER = ElasticNetTrainer()
CLOSE = 1e-6
"""In deviations of the target."""

Problem = tuple[Floats, Floats, tuple[Fold, ...]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Features, correlated and of any size, a target that they explain a little, and purged expanding folds."""
    rows, width = draw(st.integers(30, 200)), draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mixed = rng.normal(size=(rows, width)) @ (np.eye(width) + draw(st.floats(0.0, 1.0)))
    features = mixed * 10.0 ** rng.integers(-4, 5, width) + rng.normal(size=width)
    target = draw(st.sampled_from([1e-3, 1.0, 50.0])) * (
        draw(st.floats(0.0, 0.5)) * mixed[:, 0] + rng.normal(size=rows)
    )
    label_end = np.arange(rows) + draw(st.integers(1, 3))
    return features, target, purged_walk_forward(label_end, folds=draw(st.integers(1, 4)))


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "alpha": st.floats(-4.0, 1.0).map(lambda exponent: 10.0**exponent),
        "l1_ratio": st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0]),
    }
)
GRIDS = st.lists(CONFIGURATIONS, min_size=1, max_size=8)


def walked(grid: list[dict[str, float]], features: Floats, target: Floats, folds: tuple[Fold, ...]) -> Floats:
    names = [f"f{number}" for number in range(features.shape[1])]
    predicted, _ = Walk(TRAINER, features, target, folds, names, seed=0, threads=1).forward(grid)
    return predicted


def plainly(configuration: dict[str, float], features: Floats, target: Floats, folds: tuple[Fold, ...]) -> Floats:
    """The same by scikit-learn's own estimators, one fold after the other."""
    parts = []
    for fold in folds:
        columns, outcome = StandardScaler(), StandardScaler()
        x, y = columns.fit_transform(features[fold.train]), outcome.fit_transform(target[fold.train, None])[:, 0]
        alpha, l1_ratio = configuration["alpha"], configuration["l1_ratio"]
        model = (
            Ridge(alpha=alpha * len(y), solver="svd")
            if l1_ratio == 0.0
            else ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-12, max_iter=200_000)
        )
        predicted = model.fit(x, y).predict(columns.transform(features[fold.test]))
        parts.append(predicted * outcome.scale_ + outcome.mean_)
    return np.concatenate(parts)


@given(problems(), GRIDS)
@at_most(60)
def test_equals_a_plain_loop_over_folds_and_configurations(problem: Problem, grid: list[dict[str, float]]) -> None:
    features, target, folds = problem
    predicted = walked(grid, features, target, folds)
    for row, configuration in enumerate(grid):
        expected = plainly(configuration, features, target, folds)
        np.testing.assert_allclose(predicted[row], expected, rtol=0, atol=CLOSE * target.std())


@given(problems(), GRIDS)
@at_most(40)
def test_a_configuration_is_scored_the_same_whatever_is_scored_beside_it(
    problem: Problem, grid: list[dict[str, float]]
) -> None:
    features, target, folds = problem
    together = walked(grid, features, target, folds)
    for row, configuration in enumerate(grid):
        alone = walked([configuration], features, target, folds)[0]
        np.testing.assert_allclose(together[row], alone, rtol=0, atol=CLOSE * target.std())


@given(problems(), CONFIGURATIONS, st.data())
@at_most(30)
def test_what_comes_after_a_fold_changes_none_of_its_predictions(
    problem: Problem, configuration: dict[str, float], data: st.DataObject
) -> None:
    features, target, folds = problem
    end = folds[0].test[-1] + 1
    changed = target.copy()
    changed[folds[0].test[0] :] = data.draw(st.floats(-10, 10))
    others = features.copy()
    others[end:] *= -1.0
    count = len(folds[0].test)
    before = walked([configuration], features, target, folds[:1])
    after = walked([configuration], others, changed, folds[:1])
    np.testing.assert_array_equal(before[:, :count], after[:, :count])


finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,20}", fullmatch=True)


@st.composite
def predictors(draw: st.DrawFn) -> ElasticNetPredictor:
    columns = draw(st.lists(names, unique=True, max_size=6))
    return ElasticNetPredictor(tuple(columns), tuple(draw(finite) for _ in columns), draw(finite))


def bits(predictor: ElasticNetPredictor) -> list[bytes]:
    return [struct.pack("<d", value) for value in (*predictor.coefficients, predictor.intercept)]


@given(predictors())
def test_a_dumped_predictor_is_loaded_to_the_last_bit(predictor: ElasticNetPredictor) -> None:
    loaded = ElasticNetPredictor.load(predictor.dump())
    assert (loaded, bits(loaded)) == (predictor, bits(predictor))
    assert loaded.dump() == predictor.dump()


@given(st.binary(max_size=80))
def test_any_bytes_are_loaded_or_refused_but_never_crash(dumped: bytes) -> None:
    with suppress(MalformedModel):
        ElasticNetPredictor.load(dumped)


@given(predictors(), st.integers(0, 2**32 - 1), st.data())
def test_a_row_is_predicted_to_the_same_bit_whatever_shares_its_batch(
    predictor: ElasticNetPredictor, seed: int, data: st.DataObject
) -> None:
    rows = np.random.default_rng(seed).normal(size=(data.draw(st.integers(1, 70)), len(predictor.feature_names)))
    whole = predictor.predict(rows)
    for order in (np.asfortranarray(rows), rows[::-1][::-1]):
        assert predictor.predict(order).tobytes() == whole.tobytes()
    for row in range(len(rows)):
        assert predictor.predict(rows[row : row + 1]).tobytes() == whole[row : row + 1].tobytes()


@given(
    st.dictionaries(st.text(max_size=300), st.one_of(st.booleans(), st.integers(), st.floats(), st.text()), max_size=4)
)
def test_any_configuration_is_judged_and_what_is_accepted_is_in_range(
    configuration: dict[str, bool | int | float | str],
) -> None:
    if not TRAINER.refuse(configuration):
        assert set(configuration) == set(LIMITS)

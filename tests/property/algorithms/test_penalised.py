from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.algorithms import penalised
from orchestrator.algorithms.penalised import FLOOR, SLACK, Penalty, solve
from orchestrator.core.arrays import Floats

pytestmark = pytest.mark.slow

PENALTIES = st.builds(
    Penalty,
    st.floats(-6.0, 1.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([0.0, 1e-3, 0.1, 0.5, 0.9, 1.0]),
)


@st.composite
def moments(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Correlations among columns, and with a response.

    Some columns repeat others nearly or wholly, and at times there are more of them than rows.
    """
    rows, width = draw(st.integers(3, 80)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns = rng.normal(size=(rows, width))
    for column in range(1, width):
        alike = draw(st.sampled_from([None, 0.0, 1e-6, 1e-3, 0.1]))
        if alike is not None:
            columns[:, column] = columns[:, column - 1] + alike * columns[:, column]
    response = columns[:, 0] * draw(st.floats(0.0, 2.0)) + rng.normal(size=rows)
    columns, response = columns - columns.mean(axis=0), response - response.mean()
    columns, response = columns / columns.std(axis=0), response / response.std()
    return columns.T @ columns / rows, columns.T @ response / rows


@given(moments(), st.lists(PENALTIES, min_size=1, max_size=6))
@settings(deadline=None)
def test_every_solution_meets_the_conditions_of_the_optimum(
    problem: tuple[Floats, Floats], penalties: list[Penalty]
) -> None:
    gram, covariance = problem
    coefficients, astray = solve(gram, covariance, penalties)
    assert astray == ()
    for w, (alpha, l1_ratio) in zip(coefficients, penalties, strict=True):
        slope = covariance - gram @ w - max(alpha * (1 - l1_ratio), FLOOR) * w
        used = w != 0.0
        np.testing.assert_allclose(slope[used], alpha * l1_ratio * np.sign(w[used]), rtol=0, atol=3 * SLACK)
        assert (np.abs(slope[~used]) <= alpha * l1_ratio + 3 * SLACK).all()


@given(moments(), st.lists(PENALTIES, min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_neither_order_nor_company_changes_a_solution(
    problem: tuple[Floats, Floats], penalties: list[Penalty], random: Random
) -> None:
    order = list(range(len(penalties)))
    random.shuffle(order)
    coefficients, _ = solve(*problem, penalties)
    shuffled, _ = solve(*problem, [penalties[k] for k in order])
    np.testing.assert_allclose(shuffled @ problem[0], (coefficients @ problem[0])[order], rtol=0, atol=10 * SLACK)
    for penalty, together in zip(penalties, coefficients, strict=True):
        alone, _ = solve(*problem, [penalty])
        np.testing.assert_allclose(alone[0] @ problem[0], together @ problem[0], rtol=0, atol=10 * SLACK)


def test_a_response_that_nothing_explains_gets_no_coefficients() -> None:
    gram = np.array([[1.0, -1.0], [-1.0, 1.0]])
    coefficients, astray = solve(gram, np.zeros(2), [Penalty(0.1, 0.0), Penalty(0.1, 0.5), Penalty(0.1, 1.0)])
    assert astray == ()
    assert not coefficients.any()


@given(moments(), st.lists(PENALTIES, min_size=1, max_size=6))
@settings(deadline=None)
def test_single_steps_and_blocks_find_the_same(problem: tuple[Floats, Floats], penalties: list[Penalty]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penalised, "EXCHANGES", 0)
        stepped, astray = solve(*problem, penalties)
    assert astray == ()
    coefficients, _ = solve(*problem, penalties)
    np.testing.assert_allclose(stepped @ problem[0], coefficients @ problem[0], rtol=0, atol=10 * SLACK)


def test_moments_that_are_not_finite_have_no_solutions() -> None:
    coefficients, astray = solve(np.full((2, 2), np.nan), np.zeros(2), [Penalty(0.1, 0.0), Penalty(0.1, 0.5)])
    assert astray == (0, 1)
    assert np.isnan(coefficients).all()

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.algorithms.penalised import FLOOR, SLACK, Penalty, solve
from orchestrator.core.arrays import Floats

PENALTIES = st.builds(
    Penalty,
    st.floats(-6.0, 1.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([0.0, 1e-3, 0.1, 0.5, 0.9, 1.0]),
)


@st.composite
def designs(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Standardised columns, some of which repeat others nearly or wholly, and more of them than rows at times."""
    rows, width = draw(st.integers(3, 80)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns = rng.normal(size=(rows, width))
    for column in range(1, width):
        alike = draw(st.sampled_from([None, 0.0, 1e-6, 1e-3, 0.1]))
        if alike is not None:
            columns[:, column] = columns[:, column - 1] + alike * columns[:, column]
    response = columns[:, 0] * draw(st.floats(0.0, 2.0)) + rng.normal(size=rows)
    columns, response = columns - columns.mean(axis=0), response - response.mean()
    return columns / columns.std(axis=0), response / response.std()


@given(designs(), st.lists(PENALTIES, min_size=1, max_size=6))
@settings(deadline=None)
def test_every_solution_meets_the_conditions_of_the_optimum(
    problem: tuple[Floats, Floats], penalties: list[Penalty]
) -> None:
    design, response = problem
    coefficients, astray = solve(design, response, penalties)
    assert astray == ()
    for w, (alpha, l1_ratio) in zip(coefficients, penalties, strict=True):
        slope = design.T @ (response - design @ w) / len(response) - max(alpha * (1 - l1_ratio), FLOOR) * w
        used = w != 0.0
        np.testing.assert_allclose(slope[used], alpha * l1_ratio * np.sign(w[used]), rtol=0, atol=3 * SLACK)
        assert (np.abs(slope[~used]) <= alpha * l1_ratio + 3 * SLACK).all()


@given(designs(), st.lists(PENALTIES, min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_penalties_changes_nothing(
    problem: tuple[Floats, Floats], penalties: list[Penalty], random: Random
) -> None:
    order = list(range(len(penalties)))
    random.shuffle(order)
    coefficients, _ = solve(*problem, penalties)
    shuffled, _ = solve(*problem, [penalties[k] for k in order])
    np.testing.assert_array_equal(shuffled, coefficients[order])


def test_a_response_that_nothing_explains_gets_no_coefficients() -> None:
    design = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    coefficients, astray = solve(design, np.zeros(4), [Penalty(0.1, 0.0), Penalty(0.1, 0.5), Penalty(0.1, 1.0)])
    assert astray == ()
    assert not coefficients.any()

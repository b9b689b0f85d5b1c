import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.algorithms.recurrent import forward, fresh, row_by_row, sequence

pytestmark = pytest.mark.slow

NAMES = st.lists(
    st.builds(lambda series, lag: f"{series}.lag{lag}" if lag else series, st.sampled_from("abc"), st.integers(0, 12)),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(NAMES)
def test_every_feature_is_seen_and_lags_never_grow(names: list[str]) -> None:
    steps = sequence(names)
    assert set(steps.ravel().tolist()) == set(range(len(names)))
    for column in steps.T:
        lags = [int(name.partition(".lag")[2] or 0) for name in (names[place] for place in column)]
        assert lags == sorted(lags, reverse=True)
        assert len({names[place].partition(".")[0] for place in column}) == 1


@given(NAMES, st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_an_answer_does_not_depend_on_the_rows_beside_it(names: list[str], hidden: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = sequence(names)
    weights = fresh(steps.shape[1], hidden, rng)
    seen = rng.normal(size=(count, len(names)))[:, steps]
    whole = forward(weights, seen, row_by_row)
    for row in range(count):
        assert forward(weights, seen[row : row + 1], row_by_row).tobytes() == whole[row : row + 1].tobytes()
    np.testing.assert_allclose(forward(weights, seen, np.matmul), whole, rtol=1e-9, atol=1e-12)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.algorithms.moments import BLOCK, Moments
from orchestrator.core.arrays import Floats

pytestmark = pytest.mark.slow


@st.composite
def tables(draw: st.DrawFn) -> Floats:
    """Rows whose columns are far from 0 at times, of any size, and constant at times."""
    count, width = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = 10.0 ** rng.integers(-6, 7, width) * draw(st.sampled_from([0.0, 1.0]))
    rows: Floats = rng.normal(size=(count, width)) * spread + 10.0 ** rng.integers(-3, 7, width)
    return rows


def check(found: Moments, rows: Floats) -> None:
    size = np.abs(rows).max(axis=0)
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    deviation = rows - rows.mean(axis=0)
    error = 1e-13 * len(rows) * (rows.std(axis=0) + 1e-13 * size)
    expected = deviation.T @ deviation
    assert (np.abs(found.comoment - expected) <= np.outer(size, error) + np.outer(error, size)).all()
    np.testing.assert_array_equal((found.low, found.high), (rows.min(axis=0), rows.max(axis=0)))


@given(tables())
def test_they_are_those_of_the_rows(rows: Floats) -> None:
    check(Moments.of(rows), rows)


@given(tables(), st.data())
def test_those_of_two_parts_add_up_to_those_of_the_whole(rows: Floats, data: st.DataObject) -> None:
    if len(rows) > 1:
        cut = data.draw(st.integers(1, len(rows) - 1))
        check(Moments.of(rows[:cut]) + Moments.of(rows[cut:]), rows)


@given(tables())
def test_arrays_side_by_side_are_columns(rows: Floats) -> None:
    one, other = Moments.of(rows, rows[:, 0]), Moments.of(np.column_stack([rows, rows[:, 0]]))
    np.testing.assert_array_equal(one.comoment, other.comoment)


@given(tables())
def test_correlations_are_those_of_the_columns_and_none_where_nothing_varies(rows: Floats) -> None:
    deviation, correlation = Moments.of(rows).standardised()
    varies = np.ptp(rows, axis=0) > 0
    assert (deviation[~varies] == 1.0).all()
    np.testing.assert_allclose(np.diagonal(correlation), varies.astype(float), atol=1e-9)
    assert (np.abs(correlation) <= 1.0 + 1e-9).all()


def test_many_blocks_are_one_set_of_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(3 * BLOCK + 17, 3)) + np.array([0.0, 1e6, -5.0])
    deviation, correlation = Moments.of(rows).standardised()
    np.testing.assert_allclose(deviation, rows.std(axis=0), rtol=1e-10)
    np.testing.assert_allclose(correlation, np.corrcoef(rows.T), atol=1e-10)

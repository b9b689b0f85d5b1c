from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import Space, contains, corners, faults, perturb, positions_of, sample, size, values_at
from schemas.base import LARGEST_FLOAT, LARGEST_INTEGER
from schemas.search import Choice, Dimension, IntegerRange, LogUniform, Uniform

FLOATS = st.floats(-LARGEST_FLOAT, LARGEST_FLOAT)
POSITIVE = st.floats(0.0, LARGEST_FLOAT, exclude_min=True)
INTEGERS = st.integers(-20, 20) | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
SCALARS = st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("ab", max_size=2)


def ordered(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


@st.composite
def dimensions(draw: st.DrawFn) -> Dimension:
    match draw(st.sampled_from(["uniform", "loguniform", "integer", "log integer", "choice"])):
        case "uniform":
            low, high = draw(ordered(FLOATS))
            return Uniform(kind="uniform", low=low, high=high)
        case "loguniform":
            low, high = draw(ordered(POSITIVE))
            return LogUniform(kind="loguniform", low=low, high=high)
        case "integer":
            low, high = draw(ordered(INTEGERS))
            return IntegerRange(kind="integer", low=low, high=high)
        case "log integer":
            low, high = draw(ordered(st.integers(1, LARGEST_INTEGER)))
            return IntegerRange(kind="integer", low=low, high=high, log=True)
    return Choice(kind="choice", values=tuple(draw(st.lists(SCALARS, min_size=1, max_size=5))))


SPACES = st.dictionaries(st.sampled_from("abcd"), dimensions(), min_size=1)
SEEDS = st.integers(0, 1000)


@given(SPACES, SEEDS)
def test_what_is_drawn_and_explored_never_leaves_the_space(space: Space, seed: int) -> None:
    assert faults(space) == ()
    rng = np.random.default_rng(seed)
    configuration = sample(space, rng)
    for _ in range(5):
        assert contains(space, configuration)
        assert all(type(configuration[name]) is int for name in space if isinstance(space[name], IntegerRange))
        canonical_json(configuration)
        configuration = perturb(space, configuration, rng)


@given(ordered(INTEGERS), SEEDS)
def test_whole_numbers_move_when_there_is_room(bounds: tuple[int, int], seed: int) -> None:
    low, high = bounds
    assume(low < high)
    rng = np.random.default_rng(seed)
    space: Space = {"a": IntegerRange(kind="integer", low=low, high=high)}
    configuration = sample(space, rng)
    assert perturb(space, configuration, rng, redrawn=0.0) != configuration


@given(SPACES)
def test_corners_are_within_the_space_and_hold_its_ends(space: Space) -> None:
    found = corners(space)
    assert all(contains(space, corner) for corner in found)
    for name, dimension in space.items():
        ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        assert {canonical_json(corner[name]) for corner in found} >= {canonical_json(end) for end in ends}


@given(dimensions(), st.floats(0, 1))
def test_positions_and_values_agree(dimension: Dimension, position: float) -> None:
    assume(not isinstance(dimension, Choice))
    assert not isinstance(dimension, Choice)
    value = values_at(dimension, np.asarray(position))
    assert dimension.low <= value <= dimension.high
    assume(size({"a": dimension}) != 1)
    assert 0.0 <= positions_of(dimension, value) <= 1.0


@given(ordered(st.integers(1, 10_000)), st.booleans())
def test_every_whole_number_has_a_position_that_gives_it_back(bounds: tuple[int, int], log: bool) -> None:
    low, high = bounds
    assume(low < high)
    dimension = IntegerRange(kind="integer", low=low, high=high, log=log)
    numbers = np.unique(np.linspace(low, high, 50).round())
    assert values_at(dimension, positions_of(dimension, numbers)).tolist() == numbers.tolist()

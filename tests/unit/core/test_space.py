import numpy as np
import pytest

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import (
    Space,
    contains,
    corners,
    faults,
    perturb,
    place_of,
    positions_of,
    sample,
    sample_unknown,
    size,
    values_at,
)
from schemas.base import Scalar
from schemas.search import Choice, IntegerRange, LogUniform, Uniform

SPACE: Space = {
    "alpha": LogUniform(kind="loguniform", low=1e-5, high=1.0),
    "depth": IntegerRange(kind="integer", low=2, high=8),
    "booster": Choice(kind="choice", values=("tree", "linear", "dart")),
    "ratio": Uniform(kind="uniform", low=0.0, high=1.0),
}


def whole(low: int, high: int, *, log: bool = False) -> IntegerRange:
    return IntegerRange(kind="integer", low=low, high=high, log=log)


def test_every_fault_of_a_space_is_named() -> None:
    space: Space = {
        "a": Uniform(kind="uniform", low=2.0, high=1.0),
        "b": whole(0, 10, log=True),
        "c": whole(5, -5, log=True),
        "d": Choice.model_construct(kind="choice", values=()),
        "e": whole(3, 3),
    }
    assert [(fault.code, fault.where) for fault in faults(space)] == [
        ("low_above_high", "space/a"),
        ("log_needs_positive", "space/b"),
        ("low_above_high", "space/c"),
        ("empty_choice", "space/d"),
    ]
    assert "exchange" in faults(space)[0].message
    assert [fault.code for fault in faults({})] == ["empty_space"]
    assert faults(SPACE) == ()


def test_the_size_counts_what_differs() -> None:
    repeated = Choice(kind="choice", values=(1, 1.0, True, 1.0000001))
    assert size({"a": whole(1, 4), "b": repeated}) == 8
    assert size({"a": whole(1, 4), "b": repeated}, digits=12) == 12
    assert size({"a": Uniform(kind="uniform", low=0.5, high=0.5)}) == 1
    assert size(SPACE) is None


def test_a_logarithmic_scale_is_drawn_evenly_by_magnitude() -> None:
    rng = np.random.default_rng(1)
    drawn = [sample(SPACE, rng) for _ in range(2000)]
    decades = np.bincount([int(-np.log10(float(each["alpha"]))) for each in drawn], minlength=5)
    assert decades.min() > 2000 / 5 * 0.8
    depths = np.bincount([int(each["depth"]) for each in drawn])[2:]
    assert len(depths) == 7
    assert depths.min() > 2000 / 7 * 0.8
    counts = np.bincount([int(np.log2(n)) for n in values_at(whole(1, 1023, log=True), rng.random(4000))])
    assert counts[1:].min() > 4000 / 10 * 0.7


def test_the_order_in_which_a_space_is_written_changes_nothing() -> None:
    turned = {name: SPACE[name] for name in reversed(list(SPACE))}
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    first = sample(SPACE, one)
    assert first == sample(turned, other)
    assert perturb(SPACE, first, one) == perturb(turned, first, other)


def test_positions_run_along_the_scale() -> None:
    positions = np.array([0.0, 0.5, 1.0])
    assert values_at(LogUniform(kind="loguniform", low=0.01, high=1.0), positions) == pytest.approx([0.01, 0.1, 1.0])
    assert values_at(Uniform(kind="uniform", low=-1.0, high=3.0), positions).tolist() == [-1.0, 1.0, 3.0]
    assert values_at(whole(1, 4), np.array([0.0, 0.24, 0.26, 0.99, 1.0])).tolist() == [1, 1, 2, 4, 4]
    assert positions_of(whole(1, 4), np.array([1.0, 4.0])) == pytest.approx([0.125, 0.875])


def test_what_is_known_is_not_drawn_again_until_nothing_is_left() -> None:
    space: Space = {"a": whole(1, 50, log=True), "b": Choice(kind="choice", values=(True, 1))}
    rng, known = np.random.default_rng(0), set[str]()
    for _ in range(100):
        drawn = sample_unknown(space, known, rng)
        assert drawn is not None
        assert canonical_json(drawn) not in known
        known.add(canonical_json(drawn))
    assert sample_unknown(space, known, rng) is None


def test_an_interval_that_has_one_value_to_the_digits_counted_is_soon_exhausted() -> None:
    space: Space = {"a": Uniform(kind="uniform", low=0.1, high=0.1 + 1e-9)}
    assert sample_unknown(space, {canonical_json({"a": 0.1})}, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"depth": 8.0}, True),
        ({"ratio": 1}, True),
        ({"depth": 8.5}, False),
        ({"depth": 9}, False),
        ({"depth": True}, False),
        ({"alpha": 0.0}, False),
        ({"ratio": "1"}, False),
        ({"booster": "gblinear"}, False),
        ({"unknown": 1}, False),
    ],
)
def test_a_configuration_is_within_the_space_or_not(change: dict[str, Scalar], held: bool) -> None:
    assert contains(SPACE, {"alpha": 0.1, "depth": 3, "booster": "dart", "ratio": 0.5, **change}) is held


def test_a_configuration_must_be_whole() -> None:
    assert not contains(SPACE, {"alpha": 0.1, "depth": 3})


def test_true_is_not_one() -> None:
    choice = Choice(kind="choice", values=(1, True, "1"))
    assert [place_of(choice, value) for value in (True, 1.0, "1")] == [1, 0, 2]
    assert not contains({"a": Choice(kind="choice", values=(1,))}, {"a": True})
    with pytest.raises(ValueError, match="is not in list"):
        place_of(choice, 2)


def neighbours(space: Space, value: Scalar) -> set[Scalar]:
    rng = np.random.default_rng(5)
    return {perturb(space, {"a": value}, rng, redrawn=0.0)["a"] for _ in range(50)}


def test_exploring_multiplies_numbers_whatever_their_scale() -> None:
    assert neighbours({"a": Uniform(kind="uniform", low=0.0, high=10.0)}, 5.0) == {4.0, 6.0}
    assert neighbours({"a": Uniform(kind="uniform", low=-10.0, high=10.0)}, -5.0) == {-4.0, -6.0}
    assert neighbours({"a": LogUniform(kind="loguniform", low=0.01, high=10.0)}, 5.0) == {4.0, 6.0}
    assert neighbours({"a": whole(1, 100)}, 50) == {40, 60}


def test_exploring_stops_at_the_bounds_and_turns_back_there() -> None:
    unit: Space = {"a": Uniform(kind="uniform", low=0.5, high=1.0)}
    assert neighbours(unit, 0.9) == {0.9 * 0.8, 1.0}
    assert neighbours(unit, 1.0) == {0.8}
    assert neighbours(unit, 0.5) == {0.6}


def test_exploring_moves_zero_towards_a_bound() -> None:
    assert neighbours({"a": Uniform(kind="uniform", low=0.0, high=5.0)}, 0.0) == {(1.2 - 1.0) * 5.0}
    assert neighbours({"a": whole(-10, 20)}, 0) == {-2, 4}
    assert neighbours({"a": whole(0, 1)}, 0) == {1}


def test_exploring_moves_whole_numbers_by_at_least_one() -> None:
    assert neighbours({"a": whole(1, 8)}, 2) == {1, 3}
    assert neighbours({"a": whole(1, 8)}, 1) == {2}
    assert neighbours({"a": whole(1, 8)}, 8) == {6}
    assert neighbours({"a": whole(-8, -1)}, -2) == {-1, -3}
    assert neighbours({"a": whole(3, 3)}, 3) == {3}


def test_exploring_moves_a_choice_to_a_neighbour() -> None:
    assert neighbours({"a": Choice(kind="choice", values=("x", "y", "z", "w"))}, "y") == {"x", "z"}
    assert neighbours({"a": Choice(kind="choice", values=("x", "y", "z"))}, "z") == {"y"}
    assert neighbours({"a": Choice(kind="choice", values=("x",))}, "x") == {"x"}


def test_exploring_redraws_a_quarter() -> None:
    rng = np.random.default_rng(7)
    space: Space = {"a": Uniform(kind="uniform", low=0.0, high=10.0)}
    moved = [perturb(space, {"a": 5.0}, rng)["a"] for _ in range(2000)]
    assert sum(value not in (4.0, 6.0) for value in moved) == pytest.approx(500, abs=60)


def test_corners_hold_every_bound_and_every_choice() -> None:
    assert corners(SPACE) == (
        {"alpha": 1e-5, "booster": "tree", "depth": 2, "ratio": 0.0},
        {"alpha": 1.0, "booster": "linear", "depth": 8, "ratio": 1.0},
        {"alpha": 1e-5, "booster": "dart", "depth": 2, "ratio": 0.0},
    )
    assert corners({}) == ()

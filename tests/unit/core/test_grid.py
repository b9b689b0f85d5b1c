import pytest

from orchestrator.core.errors import Refused
from orchestrator.core.grid import expand, size


def test_every_combination_comes_once_in_a_stable_order() -> None:
    expected = (
        {"alpha": 0.2, "l1_ratio": 0.5},
        {"alpha": 0.2, "l1_ratio": 0.1},
        {"alpha": 0.1, "l1_ratio": 0.5},
        {"alpha": 0.1, "l1_ratio": 0.1},
    )
    assert expand({"l1_ratio": [0.5, 0.1], "alpha": [0.2, 0.1]}) == expected
    assert expand({"alpha": [0.2, 0.1], "l1_ratio": [0.5, 0.1]}) == expected


def test_values_that_are_the_same_count_once_and_true_is_not_one() -> None:
    assert expand({"a": [1, 1.0, True, 1.000000001]}) == ({"a": 1}, {"a": True})
    assert size({"a": [1, 1.0, True, 1.000000001], "b": ["x", "y", "x"]}) == 4


def test_an_absurd_grid_is_counted_and_refused_without_being_expanded() -> None:
    absurd = {f"p{number}": list(range(100)) for number in range(20)}
    assert size(absurd) == 100**20
    with pytest.raises(Refused, match="grid_too_large"):
        expand(absurd)

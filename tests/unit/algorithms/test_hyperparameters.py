import pytest

from orchestrator.algorithms.base import CannotTrain
from orchestrator.algorithms.hyperparameters import Limit, completed, refuse

LIMITS = {"depth": Limit(1, 8, whole=True, default=3), "rate": Limit(0.1, 1.0)}


def test_what_is_not_named_has_its_default_and_whole_numbers_are_integers() -> None:
    found = completed("trees", LIMITS, [{"rate": 1}, {"rate": 0.5, "depth": 2.0}])
    assert found == [{"depth": 3, "rate": 1.0}, {"depth": 2, "rate": 0.5}]
    assert [(type(each["depth"]), type(each["rate"])) for each in found] == [(int, float)] * 2


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        (2.5, "parameter_not_whole", "2.5 is not whole: give a whole number from 1 to 8."),
        (9, "parameter_out_of_range", "9 is out of range: give a whole number from 1 to 8."),
        (float("inf"), "parameter_out_of_range", "inf is out of range: give a whole number from 1 to 8."),
        (float("nan"), "parameter_not_a_number", "Give a whole number from 1 to 8."),
        (True, "parameter_not_a_number", "Give a whole number from 1 to 8."),
        ("3", "parameter_not_a_number", "Give a whole number from 1 to 8."),
    ],
)
def test_a_value_is_refused_with_what_to_give(value: float | str | bool, code: str, message: str) -> None:
    (reason,) = refuse("trees", LIMITS, {"rate": 0.5, "depth": value})
    assert (reason.code, reason.where, reason.message) == (code, "depth", message)


def test_every_fault_of_every_configuration_is_named() -> None:
    with pytest.raises(CannotTrain) as refusal:
        completed("trees", LIMITS, [{"rate": 0.5}, {"speed": 1, "depth": 0}])
    assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [
        ("unknown_parameter", "configurations[1].speed"),
        ("parameter_out_of_range", "configurations[1].depth"),
        ("missing_parameter", "configurations[1].rate"),
    ]
    assert refusal.value.reasons[0].message == "trees has: depth, rate."

"""What a family's hyper-parameters may be, and the judgement of configurations by it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.algorithms.base import CannotTrain, Configuration, quoted
from schemas.base import Reason


@dataclass(frozen=True)
class Limit:
    """The smallest and the largest value of a hyper-parameter, both included."""

    low: float
    high: float
    whole: bool = False
    default: float | None = None
    """Where a configuration does not name it. None: it must be named."""

    def __str__(self) -> str:
        return f"{'a whole number from ' if self.whole else ''}{self.low:g} to {self.high:g}"

    def refuse(self, name: str, value: object) -> Reason | None:
        """What is wrong with a value, if anything."""
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return Reason(code="parameter_not_a_number", where=name, message=f"Give {self}.")
        if not self.low <= value <= self.high:
            message = f"{value:g} is out of range: give {self}."
            return Reason(code="parameter_out_of_range", where=name, message=message)
        if self.whole and value != int(value):
            return Reason(code="parameter_not_whole", where=name, message=f"{value:g} is not whole: give {self}.")
        return None

    def read(self, value: object) -> float:
        """A value that is not refused, or None for the default, as a number of its kind."""
        given: Any = self.default if value is None else value
        return int(given) if self.whole else float(given)


Limits = Mapping[str, Limit]


def refuse(family: str, limits: Limits, configuration: Configuration) -> tuple[Reason, ...]:
    """Everything that is wrong with a configuration: parameters unknown, missing, no numbers or out of range."""
    reasons = [
        Reason(code="unknown_parameter", where=quoted(name), message=f"{family} has: {', '.join(limits)}.")
        for name in sorted(set(configuration) - set(limits))
    ]
    for name, limit in limits.items():
        if name in configuration:
            fault = limit.refuse(name, configuration[name])
            reasons += [fault] if fault else []
        elif limit.default is None:
            reasons.append(Reason(code="missing_parameter", where=name, message=f"Give {limit}."))
    return tuple(reasons)


def completed(family: str, limits: Limits, configurations: Sequence[Configuration]) -> list[dict[str, float]]:
    """The value of every hyper-parameter for each configuration; whole ones are of type int.

    Raises:
        CannotTrain: some are refused; each reason's `where` begins with `configurations[i].`.
    """
    faults = [
        reason.model_copy(update={"where": quoted(f"configurations[{number}].{reason.where}")})
        for number, configuration in enumerate(configurations)
        for reason in refuse(family, limits, configuration)
    ]
    if faults:
        raise CannotTrain(faults)
    return [
        {name: limit.read(configuration.get(name)) for name, limit in limits.items()}
        for configuration in configurations
    ]

"""Search spaces: what may be tried, by hyper-parameter.

Dimensions are always gone through by name, so that the order in which a space was written down changes nothing.
"""

import math
from collections.abc import Container, Iterator, Mapping
from itertools import product

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json
from schemas.base import Reason, Scalar
from schemas.search import Choice, Dimension, IntegerRange, LogUniform, Uniform

Configuration = Mapping[str, Scalar]
Space = Mapping[str, Dimension]
Numeric = Uniform | LogUniform | IntegerRange

UP, DOWN = 1.2, 0.8
"""What PBT multiplies a number by to explore (Jaderberg et al., 2017)."""
REDRAWN = 0.25
"""Chance that PBT draws a hyper-parameter anew instead."""
DRAWS = 100
LARGEST_LISTING = 100_000
"""Configurations of a space that is listed to find those left; in a larger one, drawing again finds them."""


def faults(space: Space) -> tuple[Reason, ...]:
    """Everything that is wrong with a space; the functions below expect one without faults."""
    if not space:
        message = "name at least one hyper-parameter, or leave it out"
        return (Reason(code="empty_space", where="space", message=message),)
    return tuple(reason for name in sorted(space) for reason in _faults(f"space/{name}", space[name]))


def size(space: Space, digits: int = FLOAT_DIGITS) -> int | None:
    """Number of different configurations; None: it is not finite. Choices that are the same to `digits` count once."""
    if any(isinstance(each, Uniform | LogUniform) and each.low < each.high for each in space.values()):
        return None
    return math.prod(len(_values(each, digits)) for each in space.values())


def sample(space: Space, rng: np.random.Generator) -> dict[str, Scalar]:
    """A configuration, each hyper-parameter drawn evenly on its own scale and apart from the others."""
    return {name: _value(space[name], rng.random()) for name in sorted(space)}


def sample_unknown(
    space: Space, known: Container[str], rng: np.random.Generator, digits: int = FLOAT_DIGITS
) -> dict[str, Scalar] | None:
    """A configuration whose canonical JSON is not among `known`; None: there is no other one."""
    for _ in range(DRAWS):
        if canonical_json(drawn := sample(space, rng), digits) not in known:
            return drawn
    count = size(space, digits)
    if count is None or count > LARGEST_LISTING:
        return None
    left = [each for each in _every(space, digits) if canonical_json(each, digits) not in known]
    return left[rng.integers(len(left))] if left else None


def contains(space: Space, configuration: Configuration) -> bool:
    """Whether the configuration has the space's hyper-parameters, no others, each within its dimension."""
    return space.keys() == configuration.keys() and all(_holds(space[name], configuration[name]) for name in space)


def perturb(
    space: Space, configuration: Configuration, rng: np.random.Generator, *, redrawn: float = REDRAWN
) -> dict[str, Scalar]:
    """A configuration near to another one: the explore step of PBT (Jaderberg et al., 2017), kept within the space.

    With the chance `redrawn` a hyper-parameter is drawn anew. Else a number is multiplied by 1.2 or 0.8, whole numbers
    moving by at least 1, zero by a fifth of the way to a bound; a choice moves to one of its neighbours. What would
    leave the bounds stops there, and what already stands there turns back.
    """
    perturbed: dict[str, Scalar] = {}
    for name in sorted(space):
        redraw, up, position = rng.random() < redrawn, rng.random() < 0.5, rng.random()
        dimension = space[name]
        perturbed[name] = _value(dimension, position) if redraw else _neighbour(dimension, configuration[name], up)
    return perturbed


def corners(space: Space) -> tuple[dict[str, Scalar], ...]:
    """A few configurations that between them hold every bound and every choice: what a whole space is judged by."""
    ends = {name: _ends(space[name]) for name in sorted(space)}
    longest = max((len(each) for each in ends.values()), default=0)
    return tuple({name: each[number % len(each)] for name, each in ends.items()} for number in range(longest))


def values_at(dimension: Numeric, positions: Floats) -> Floats:
    """The numbers at `positions` of [0, 1] along a dimension's own scale; any shape.

    Every whole number has the same share of the interval, or on a logarithmic scale that of half to either side of it.
    """
    start, end = _scale(dimension)
    values = start * (1.0 - positions) + end * positions
    if _logarithmic(dimension):
        with np.errstate(over="ignore"):
            values = np.exp(values)
    if isinstance(dimension, IntegerRange):
        values = np.rint(values)
    clipped: Floats = np.clip(values, dimension.low, dimension.high)
    return clipped


def positions_of(dimension: Numeric, values: Floats) -> Floats:
    """The positions in [0, 1] of numbers that the dimension holds: `values_at` backwards, where low is below high."""
    start, end = _scale(dimension)
    along: Floats = np.interp(np.log(values) if _logarithmic(dimension) else values, (start, end), (0.0, 1.0))
    return along


def place_of(choice: Choice, value: Scalar) -> int:
    """The place of a value among the choices; true is not 1.

    Raises:
        ValueError: it is none of them.
    """
    return [canonical_json(each) for each in choice.values].index(canonical_json(value))


def _faults(where: str, dimension: Dimension) -> Iterator[Reason]:
    if isinstance(dimension, Choice):
        if not dimension.values:
            yield Reason(code="empty_choice", where=where, message="name at least one value")
        return
    if dimension.low > dimension.high:
        message = f"low {dimension.low:g} is above high {dimension.high:g}; exchange them"
        yield Reason(code="low_above_high", where=where, message=message)
    if _logarithmic(dimension) and dimension.low <= 0:
        message = f"a logarithmic scale has no {dimension.low:g}; give a low above 0, or a linear scale"
        yield Reason(code="log_needs_positive", where=where, message=message)


def _logarithmic(dimension: Numeric) -> bool:
    return isinstance(dimension, LogUniform) or (isinstance(dimension, IntegerRange) and dimension.log)


def _scale(dimension: Numeric) -> tuple[float, float]:
    margin = 0.5 if isinstance(dimension, IntegerRange) else 0.0
    low, high = dimension.low - margin, dimension.high + margin
    return (math.log(low), math.log(high)) if _logarithmic(dimension) else (low, high)


def _value(dimension: Dimension, position: float) -> Scalar:
    if isinstance(dimension, Choice):
        return dimension.values[int(position * len(dimension.values))]
    value = float(values_at(dimension, np.asarray(position)))
    return int(value) if isinstance(dimension, IntegerRange) else value


def _values(dimension: Dimension, digits: int) -> range | list[Scalar]:
    """The different values of a dimension that has only so many."""
    if isinstance(dimension, Choice):
        return list({canonical_json(each, digits): each for each in dimension.values}.values())
    return range(dimension.low, dimension.high + 1) if isinstance(dimension, IntegerRange) else [dimension.low]


def _every(space: Space, digits: int) -> Iterator[dict[str, Scalar]]:
    names = sorted(space)
    for values in product(*(_values(space[name], digits) for name in names)):
        yield dict(zip(names, values, strict=True))


def _holds(dimension: Dimension, value: Scalar) -> bool:
    if isinstance(dimension, Choice):
        return canonical_json(value) in map(canonical_json, dimension.values)
    if isinstance(value, bool | str) or not dimension.low <= value <= dimension.high:
        return False
    return not isinstance(dimension, IntegerRange) or value == int(value)


def _ends(dimension: Dimension) -> tuple[Scalar, ...]:
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _neighbour(dimension: Dimension, value: Scalar, up: bool) -> Scalar:
    if isinstance(dimension, Choice):
        place, step = place_of(dimension, value), 1 if up else -1
        beside = [there for there in (place + step, place - step) if 0 <= there < len(dimension.values)]
        return dimension.values[next(iter(beside), place)]
    moved = _moved(dimension, float(value), up)
    return moved if moved != value else _moved(dimension, float(value), not up)


def _moved(dimension: Numeric, value: float, up: bool) -> int | float:
    factor, bound = (UP, dimension.high) if up else (DOWN, dimension.low)
    target = value * factor if value else (UP - 1.0) * bound
    if not isinstance(dimension, IntegerRange):
        return min(max(target, dimension.low), dimension.high)
    whole = round(target)
    if whole == value and target != value:
        whole += 1 if target > value else -1
    return min(max(whole, dimension.low), dimension.high)

"""Configurations as libraries take them: numbers only, on scales that weigh alike.

What is continuous is its position in [0, 1] along its own scale, a whole number is itself, and a choice is its place,
since libraries take true for 1.
"""

from collections.abc import Mapping

import numpy as np

from orchestrator.core.space import Configuration, Space, place_of, positions_of, values_at
from schemas.base import Scalar
from schemas.search import Choice, Dimension, IntegerRange, LogUniform, Uniform

MOST_WHOLE = 1_000_000
"""Whole numbers of a wider range are continuous: one of them is too narrow for Optuna to have a likelihood."""


def is_continuous(dimension: Dimension) -> bool:
    """Whether its coordinate is a position."""
    if isinstance(dimension, IntegerRange):
        return dimension.high - dimension.low > MOST_WHOLE
    return isinstance(dimension, Uniform | LogUniform)


def encoded(space: Space, configuration: Configuration) -> dict[str, float]:
    """The coordinates of a configuration, by name."""
    return {name: _encoded(space[name], configuration[name]) for name in sorted(space)}


def decoded(space: Space, coordinates: Mapping[str, float]) -> dict[str, Scalar]:
    """The configuration at coordinates."""
    return {name: _decoded(space[name], coordinates[name]) for name in sorted(space)}


def _encoded(dimension: Dimension, value: Scalar) -> float:
    if isinstance(dimension, Choice):
        return place_of(dimension, value)
    return float(positions_of(dimension, np.asarray(value))) if is_continuous(dimension) else int(value)


def _decoded(dimension: Dimension, coordinate: float) -> Scalar:
    if isinstance(dimension, Choice):
        return dimension.values[int(coordinate)]
    value = float(values_at(dimension, np.asarray(coordinate))) if is_continuous(dimension) else coordinate
    return int(value) if isinstance(dimension, IntegerRange) else value

"""Grids: every combination of the values of each hyper-parameter."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json
from orchestrator.core.errors import Refused
from schemas.base import Reason, Scalar

LARGEST_GRID = 10_000


def size(param_grid: Mapping[str, Sequence[Scalar]], digits: int = FLOAT_DIGITS) -> int:
    """Number of different configurations, without listing them."""
    return math.prod(len(_different(values, digits)) for values in param_grid.values())


def expand(
    param_grid: Mapping[str, Sequence[Scalar]], *, digits: int = FLOAT_DIGITS, limit: int = LARGEST_GRID
) -> tuple[dict[str, Scalar], ...]:
    """Every configuration once: parameters by name, the last one varying fastest, values in the order given.

    Values that are the same in canonical form (`digits` significant digits) count once; the first one stands.

    Raises:
        Refused: there are more than `limit` (`grid_too_large`).
    """
    count = size(param_grid, digits)
    if count > limit:
        message = f"{count} configurations are more than {limit}; name fewer values"
        raise Refused((Reason(code="grid_too_large", where="param_grid", message=message),))
    names = sorted(param_grid)
    different = (_different(param_grid[name], digits) for name in names)
    return tuple(dict(zip(names, values, strict=True)) for values in product(*different))


def _different(values: Sequence[Scalar], digits: int) -> list[Scalar]:
    first: dict[str, Scalar] = {}
    for value in values:
        first.setdefault(canonical_json(value, digits), value)
    return list(first.values())

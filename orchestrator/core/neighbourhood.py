"""Successors: the search that follows a champion, near to what its members are, on a data window that has moved on."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from orchestrator.core.admission import STRATEGY_FIELDS, Algorithm, grid_of, space_of
from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import Configuration, Numeric, positions_of, values_at
from schemas.base import JsonObject, Scalar
from schemas.policies import RetrainingSearch
from schemas.search import Choice, Deploy, Dimension, IntegerRange, SearchRequest

RIGHT_AFTER = timedelta(microseconds=1)


def successor(
    request: SearchRequest,
    origin: SearchRequest,
    algorithm: Algorithm,
    members: Sequence[Configuration],
    search: RetrainingSearch,
    *,
    request_id: str,
    parent: str,
    cause: JsonObject,
    through: datetime,
    deploy: Deploy,
) -> SearchRequest:
    """The search for a challenger.

    Args:
        request: that the champion's experiment was founded by.
        origin: the one that it descends from and no policy made; `request` itself where that is none of a policy's. Its
            grid or space is what a neighbourhood is a part of: parts of parts would become a point.
        algorithm: the request's.
        members: the champion's configurations.
        search: how it is to differ.
        request_id: the new one's.
        parent: the champion's experiment.
        cause: why.
        through: the newest live bar: later ones are not to be seen, wherever the ticks come from.
        deploy: the champion's clause, by its manifest: name, members, voting and threshold.
    """
    strategy = search.strategy or request.strategy
    overrides = search.model_dump(exclude={"neighbourhood", "strategy"}, exclude_none=True)
    asked: dict[str, Any] = {name: getattr(request, name) for name in SearchRequest.model_fields} | overrides
    asked |= dict.fromkeys(_READ - STRATEGY_FIELDS[strategy])
    if strategy == "grid":
        asked["param_grid"] = near_values(grid_of(origin, algorithm), members, search.neighbourhood)
    else:
        asked["space"] = near_space(space_of(origin, algorithm), members, search.neighbourhood)
    data_end = through + RIGHT_AFTER
    data_start = request.data_start
    if data_start is not None and request.data_end is not None:
        data_start += data_end - request.data_end
    asked |= {
        "request_id": request_id,
        "strategy": strategy,
        "data_start": data_start,
        "data_end": data_end,
        "name": None,
        "resume": False,
        "expires_at": None,
        "requested_by": "policy",
        "cause": cause,
        "parent": parent,
        "deploy": deploy.model_copy(update={"auto": True, "mode": "shadow", "gate": False}),
    }
    return SearchRequest(**asked)


_READ = frozenset().union(*STRATEGY_FIELDS.values())


def near_space(space: Mapping[str, Dimension], members: Sequence[Configuration], share: float) -> dict[str, Dimension]:
    """The part of a space around what members have: of each dimension, `share` of its length on its own scale, or as
    much more as the members are apart; of a choice, so many values."""
    return {name: _near(dimension, _had(members, name), share) for name, dimension in space.items()}


def near_values(
    param_grid: Mapping[str, Sequence[Scalar]], members: Sequence[Configuration], share: float
) -> dict[str, tuple[Scalar, ...]]:
    """The part of a grid around what members have: `share` of each parameter's values, rounded up, in their order."""
    return {name: _nearest(tuple(values), _had(members, name), share) for name, values in param_grid.items()}


def _had(members: Sequence[Configuration], name: str) -> list[Scalar]:
    return [member[name] for member in members if name in member]


def _near(dimension: Dimension, values: Sequence[Scalar], share: float) -> Dimension:
    if isinstance(dimension, Choice):
        return Choice(kind="choice", values=_nearest(dimension.values, values, share))
    numbers = [float(value) for value in values if not isinstance(value, bool | str)]
    if not numbers or share >= 1 or dimension.low >= dimension.high:
        return dimension
    held = np.clip(numbers, dimension.low, dimension.high)
    low, high = _interval(positions_of(dimension, held).tolist(), share)
    ends = np.concatenate([values_at(dimension, np.array([low, high])), held])
    return _between(dimension, float(ends.min()), float(ends.max()))


def _between(dimension: Numeric, low: float, high: float) -> Numeric:
    if isinstance(dimension, IntegerRange):
        return dimension.model_copy(update={"low": math.floor(low), "high": math.ceil(high)})
    return dimension.model_copy(update={"low": low, "high": high})


def _interval(positions: Sequence[float], share: float) -> tuple[float, float]:
    """An interval of [0, 1] of length `share` at least, with all positions inside, as much around them as it can be."""
    low, high = min(positions), max(positions)
    spare = max(0.0, share - (high - low)) / 2
    low, high = low - spare, high + spare
    shift = max(0.0, -low) - max(0.0, high - 1.0)
    return max(0.0, low + shift), min(1.0, high + shift)


def _nearest(values: tuple[Scalar, ...], had: Sequence[Scalar], share: float) -> tuple[Scalar, ...]:
    """The values that members have, and so many of those nearest to them, in their order."""
    places = sorted({place for value in had if (place := _place(values, value)) is not None})
    if not places:
        return values
    count = max(len(places), math.ceil(share * len(values)))
    near = sorted(range(len(values)), key=lambda place: (min(abs(place - own) for own in places), place))
    return tuple(values[place] for place in sorted(near[:count]))


def _place(values: Sequence[Scalar], value: Scalar) -> int | None:
    """The place of the value itself, of a number that of the nearest one; None: there is nothing like it."""
    written = [canonical_json(each) for each in values]
    if (own := canonical_json(value)) in written:
        return written.index(own)
    numbers = [(abs(float(each) - float(value)), place) for place, each in enumerate(values) if _both(each, value)]
    return min(numbers)[1] if numbers else None


def _both(each: Scalar, value: Scalar) -> bool:
    return not isinstance(each, bool | str) and not isinstance(value, bool | str)

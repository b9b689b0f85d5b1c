"""What families share: preparing rows, training side by side, answering for rows that are not finite."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import CannotTrain, Predictor
from orchestrator.core.arrays import Floats
from schemas.base import Reason

LEAST_ROWS = 2
_Result = TypeVar("_Result")
Rows = NDArray[Any]
"""(n, f) of single or double precision."""


def usable(features: Floats, target: Floats, precision: type = np.float64) -> tuple[Rows, Floats]:
    """The rows to train on, those that are finite in this precision; no copies where every row is and none is needed.

    Raises:
        CannotTrain: too few of them.
    """
    rows = _cast(features, precision)
    known = np.isfinite(target) & np.isfinite(rows).all(axis=1)
    if np.count_nonzero(known) < LEAST_ROWS:
        message = (
            f"{len(target)} training rows hold {np.count_nonzero(known)} that are finite; {LEAST_ROWS} are the least."
        )
        raise CannotTrain([Reason(code="too_few_rows", message=message)])
    return (rows, target) if known.all() else (rows[known], target[known])


def answer(features: Floats, width: int, predict: Callable[[Rows], Floats], precision: type = np.float64) -> Floats:
    """(n,) predictions of the rows of `features` that are finite in this precision, NaN for the others.

    A prediction that is not finite, as of values at the end of the numbers, is NaN, too.

    Args:
        features: (n, width).
        width: the model's number of features.
        predict: told at least one row, all of them finite and of this precision.
        precision: that of the model.

    Raises:
        ValueError: `features` has another number of columns.
    """
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"features must be (n, {width}), not {features.shape}")
    rows = _cast(features, precision)
    known = np.isfinite(rows).all(axis=1)
    predicted = np.full(len(rows), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        if known.all() and len(rows):
            predicted[:] = predict(rows)
        elif known.any():
            predicted[known] = predict(rows[known])
    predicted[~np.isfinite(predicted)] = np.nan
    return predicted


def one_by_one(predictors: Sequence[Predictor], features: Floats) -> Floats:
    """(k, n) predictions, each predictor's own."""
    predicted = np.empty((len(predictors), len(features)))
    for row, predictor in zip(predicted, predictors, strict=True):
        row[:] = predictor.predict(features)
    return predicted


def side_by_side(work: Callable[[int, int], _Result], count: int, threads: int) -> list[_Result]:
    """What `work(number, threads)` gives for each number below `count`, in their order.

    As many as there are threads are under way at once, with an equal share of the threads each: of use where the work
    is done in libraries that release Python's lock.
    """
    share = max(1, threads // max(1, count))
    if count < 2 or threads < 2:
        return [work(number, share) for number in range(count)]
    with ThreadPoolExecutor(min(count, threads)) as pool:
        return list(pool.map(lambda number: work(number, share), range(count)))


def cannot_train(faults: Mapping[int, Sequence[Reason]]) -> CannotTrain:
    """Why configurations, by their numbers, cannot be trained."""
    return CannotTrain(
        reason.model_copy(update={"where": f"configurations[{number}]"})
        for number in sorted(faults)
        for reason in faults[number]
    )


def _cast(features: Floats, precision: type) -> Rows:
    """Values that the precision cannot hold become infinite, and their rows are treated as such."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(features, dtype=precision)

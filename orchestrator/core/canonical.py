"""Canonical form: what is the same work gets the same digest, however it was written down."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.core.dataset import Terms, terms_of
from orchestrator.core.scoring import SCORING
from orchestrator.core.splits import FoldPlan
from schemas.base import LARGEST_FLOAT, LARGEST_INTEGER, Scalar
from schemas.search import SearchRequest

FLOAT_DIGITS = 5
"""Significant digits of hyper-parameters: decimal places would make 1e-6 and 4e-6 the same."""
EXACT = 17
"""Significant digits that tell any two floats apart: of costs and thresholds, which nobody searches over."""

NOT_THE_WORK = frozenset(
    {
        "schema_version",
        "request_id",
        "name",
        "deploy",
        "priority",
        "resume",
        "expires_at",
        "requested_by",
        "cause",
        "parent",
    }
)
"""Fields of a search request that change nothing about the search itself."""


def canonical_json(value: object, digits: int = FLOAT_DIGITS) -> str:
    """JSON in one form: nested mappings flattened with `/`, keys sorted, floats to `digits` significant digits.

    Whole floats are integers, so 1 and 1.0 are the same; true is neither. Integers keep all their digits. A `/` in a
    key is written `~1` and a `~` is `~0` (RFC 6901), so that no two mappings become the same.

    Raises:
        ValueError: a number is not finite.
        TypeError: a value has no JSON form, or a key is not a string.
    """
    plain = _plain(value, digits)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object, digits: int = FLOAT_DIGITS) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value, digits).encode()).hexdigest()


def fingerprint(
    configuration: Mapping[str, Scalar],
    *,
    algorithm: str,
    algorithm_version: str,
    data_hash: str | Sequence[str],
    ticker: str | Sequence[str],
    timeframe: str,
    terms: Terms,
    folds: FoldPlan,
    cost: float | Sequence[float],
    threshold: float,
    exit_threshold: float,
    seed: int,
    calendar: str,
    objective: tuple[str, str] | None = None,
    stages: Sequence[tuple[Mapping[str, Scalar], int | None]] = (),
    digits: int = FLOAT_DIGITS,
) -> str:
    """What makes two trials the same work.

    Args:
        configuration: hyper-parameters.
        data_hash: of each ticker where it is on several; so of `ticker` and `cost`.
        cost: of a change of position by one unit, as a fraction.
        calendar: by which profit is summed up, and labels end.
        objective: the metric and the direction of which one score is made, where it is on several tickers.
        stages: configurations and budgets that it is trained by one after the other; none: in one go, in full.
        digits: significant digits to which two values of a hyper-parameter are the same.
    """
    return digest(
        {
            "configuration": _plain(configuration, digits),
            "scoring": SCORING,
            "algorithm": algorithm,
            "algorithm_version": algorithm_version,
            "data_hash": data_hash,
            "ticker": ticker,
            "timeframe": timeframe,
            "terms": asdict(terms),
            "folds": asdict(folds),
            "cost": cost,
            "threshold": threshold,
            "exit_threshold": exit_threshold,
            "seed": seed,
            "calendar": calendar,
            "objective": objective,
            "stages": [[_plain(trained_by, digits), budget] for trained_by, budget in stages],
        },
        EXACT,
    )


def search_key(
    request: SearchRequest,
    *,
    algorithm_version: str,
    data_hash: Mapping[str, str] | None = None,
    defaults: Mapping[str, object] | None = None,
    digits: int = FLOAT_DIGITS,
) -> str:
    """What makes two requests the same work, leaving out `NOT_THE_WORK`.

    The order of tickers and of a grid's values does not count, nor do costs of other tickers.

    Args:
        algorithm_version: of the request's algorithm.
        data_hash: by ticker, where the bars are known already.
        defaults: by field, what the service puts where the request is silent, so that spelling it out is the same work.
        digits: significant digits to which two values of a hyper-parameter, or two bounds of one, are the same.
    """
    asked = request.model_dump(mode="json", exclude=set(NOT_THE_WORK))
    # Whether bars have opens is not known here: an execution that is left out stays so.
    terms = terms_of(request, has_open=True)
    filled = {"horizon": terms.horizon, "session_policy": terms.session_policy, **(defaults or {})}
    work = {name: filled.get(name) if value is None else value for name, value in asked.items()}
    work["tickers"] = sorted(request.tickers)
    work["costs"] = {ticker: request.costs.of(ticker) for ticker in request.tickers}
    if isinstance(grid := work["param_grid"], Mapping):
        work["param_grid"] = {
            name: sorted({canonical_json(value, digits) for value in values}) for name, values in grid.items()
        }
    work["space"] = _plain(work["space"], digits)
    return digest({"request": work, "algorithm_version": algorithm_version, "data_hash": data_hash}, EXACT)


def lineage_key(ticker: str, *, timeframe: str, terms: Terms) -> str:
    """What makes two trials of one lineage: the ticker, the timeframe and the target.

    Which other tickers were searched beside it is not part of it: more or fewer of them are another try on each. Nor is
    how a prediction is traded and what trading costs: another execution is another try on the same target.
    """
    target = {"transform": terms.transform, "horizon": terms.horizon}
    return digest({"ticker": ticker, "timeframe": timeframe, "target": target})


def _plain(value: object, digits: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return _number(value, digits)
    if isinstance(value, Mapping):
        return dict(_flat(value, "", digits))
    if isinstance(value, list | tuple):
        return [_plain(item, digits) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form; give mappings, lists, text, numbers, true or null")


def _flat(mapping: Mapping[Any, object], prefix: str, digits: int) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} is not a string")
        path = prefix + key.replace("~", "~0").replace("/", "~1")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}/", digits)
        else:
            yield path, _plain(value, digits)


def _number(value: float, digits: int) -> int | float:
    if not math.isfinite(value):
        raise ValueError(f"{value} has no canonical form; give a finite number")
    if value.is_integer() and abs(value) <= LARGEST_INTEGER:
        return int(value)
    rounded = float(f"{value:.{digits - 1}e}")
    if math.isinf(rounded):
        # The largest floats would be rounded up to infinity, which JSON does not have.
        return math.copysign(LARGEST_FLOAT, value)
    return int(rounded) if rounded.is_integer() and abs(rounded) <= LARGEST_INTEGER else rounded

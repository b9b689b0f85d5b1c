"""Columns give back what was put in."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sqlalchemy import make_url

from orchestrator.store.columns import Array, Instant, Json
from schemas.base import Reason
from schemas.envelope import Headers
from schemas.search import Costs, Deploy, SearchRequest

_SQLITE, _POSTGRESQL = (make_url(f"{name}://").get_dialect()() for name in ("sqlite", "postgresql"))

_moments = st.datetimes(
    datetime(1901, 1, 1),  # noqa: DTZ001
    datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_reasons = st.builds(Reason, code=st.just("a_code"), where=_texts, message=_texts)
_requests = st.builds(
    SearchRequest,
    request_id=st.just("r"),
    strategy=st.sampled_from(["grid", "pbt"]),
    algorithm=st.just("elasticnet"),
    tickers=st.just(("AAPL", "BRK.B")),
    param_grid=st.none()
    | st.dictionaries(
        st.sampled_from(["alpha", "l1_ratio"]),
        st.lists(
            st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | _texts,
            min_size=1,
            max_size=4,
        ).map(tuple),
    ),
    costs=st.builds(Costs, per_ticker_bps=st.just({"AAPL": 0.5})),
    data_start=st.none() | _moments,
    cause=st.none() | st.just({"drift": (1, None, {"psi": 0.3})}),
    deploy=st.builds(Deploy, auto=st.booleans(), threshold=st.none() | st.floats(0.01, 1)),
)


def _stored(shape: Any, value: Any) -> Any:
    """What a Json column reads after the database kept it as text."""
    column = Json(shape)
    text = json.dumps(column.process_bind_param(value, _SQLITE), allow_nan=False)
    return column.process_result_value(json.loads(text), _SQLITE)


@given(_moments)
def test_a_time_is_the_same_moment_in_utc_whether_or_not_the_database_keeps_offsets(moment: datetime) -> None:
    bound = Instant().process_bind_param(moment, _SQLITE)
    assert bound is not None
    for kept in (bound, bound.replace(tzinfo=None), bound.astimezone(timezone(timedelta(hours=5)))):
        read = Instant().process_result_value(kept, _SQLITE)
        assert read is not None
        assert read == moment
        assert read.tzinfo is UTC


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="no UTC offset"):
        Instant().process_bind_param(datetime(2026, 1, 1), _SQLITE)  # noqa: DTZ001


@given(_requests)
def test_a_request_reads_as_it_was_written(request: SearchRequest) -> None:
    assert _stored(SearchRequest, request) == request


@given(st.lists(_reasons, max_size=3).map(tuple))
def test_reasons_read_as_they_were_written(reasons: tuple[Reason, ...]) -> None:
    assert _stored(tuple[Reason, ...], reasons) == reasons


@given(st.lists(st.tuples(_texts, _texts.map(str.encode)), max_size=3))
def test_headers_read_as_they_were_written(headers: Headers) -> None:
    assert _stored(Headers, headers) == headers


@given(
    st_numpy.arrays(
        dtype=st.sampled_from(["float64", "float32", "int8"]),
        shape=st_numpy.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5),
    )
)
def test_an_array_reads_as_it_was_written(array: np.ndarray[Any, Any]) -> None:
    kept = Array().process_bind_param(array, _SQLITE)
    assert isinstance(kept, bytes)
    read = Array().process_result_value(kept, _SQLITE)
    np.testing.assert_array_equal(read, array, strict=True)


def test_an_array_that_would_carry_code_is_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        Array().process_bind_param(np.array([object()]), _SQLITE)


@pytest.mark.parametrize("column", [Instant(), Json(Reason), Array()])
def test_nothing_is_kept_as_nothing(column: Any) -> None:
    for dialect in (_SQLITE, _POSTGRESQL):
        assert column.process_bind_param(None, dialect) is None
        assert column.process_result_value(None, dialect) is None

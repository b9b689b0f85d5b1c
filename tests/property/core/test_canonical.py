import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.canonical import FLOAT_DIGITS, canonical_json, fingerprint, search_key
from orchestrator.core.grid import expand, size
from schemas.search import Costs, SearchRequest
from tests.unit.core.test_canonical import FINGERPRINT

text = st.text(max_size=5)
leaf = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text
)
tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=4))
document = st.dictionaries(text, tree, max_size=5)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(document)
def test_the_order_of_keys_does_not_count(value: dict[str, Any]) -> None:
    assert canonical_json(value) == canonical_json(reordered(value))


@given(document)
def test_nested_mappings_leave_no_nested_mapping(value: dict[str, Any]) -> None:
    flat = json.loads(canonical_json(value))
    assert not any(isinstance(item, dict) and item for item in flat.values())


@given(leaf)
def test_the_canonical_form_is_its_own_canonical_form(value: Any) -> None:
    form = canonical_json(value)
    assert canonical_json(json.loads(form)) == form


@given(st.integers(10**4, 10**5 - 1), st.integers(-12, 3), st.floats(-1e-9, 1e-9), st.sampled_from([-1, 1]))
def test_noise_beyond_the_precision_does_not_count(digits: int, exponent: int, noise: float, sign: int) -> None:
    value = sign * float(f"{digits}e{exponent - FLOAT_DIGITS}")
    if not value.is_integer():
        assert canonical_json({"a": value * (1 + noise)}) == canonical_json({"a": value})


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300))
def test_what_differs_within_the_precision_differs(one: float, other: float) -> None:
    if not math.isclose(one, other, rel_tol=2 * 10.0 ** (1 - FLOAT_DIGITS)):
        assert canonical_json(one) != canonical_json(other)


@given(
    st.dictionaries(text, st.lists(leaf.filter(lambda value: value is not None), min_size=1, max_size=6), max_size=3)
)
def test_a_grid_has_as_many_different_configurations_as_its_size_says(grid: dict[str, list[Any]]) -> None:
    configurations = expand(grid)
    assert len(configurations) == size(grid)
    assert len({canonical_json(configuration) for configuration in configurations}) == size(grid)
    assert expand({name: grid[name] for name in reversed(grid)}) == configurations


DIGITS = st.integers(1, 17)
BASIS_POINTS = st.integers(0, 10_000)
ALPHAS = st.floats(1e-5, 1.0)


def described(alpha: float = 0.1, digits: int = FLOAT_DIGITS, **changed: Any) -> str:
    return fingerprint({"alpha": alpha}, digits=digits, **FINGERPRINT | changed)


@given(BASIS_POINTS, BASIS_POINTS, DIGITS)
def test_a_basis_point_is_another_fingerprint_and_another_search_however_few_digits_count(
    one: int, other: int, digits: int
) -> None:
    costs = [Costs(default_bps=float(each)) for each in (one, other)]
    asked = [
        SearchRequest(request_id="r", strategy="grid", algorithm="elasticnet", tickers=("AAPL",), costs=each)
        for each in costs
    ]
    same = one == other
    assert (len({described(digits=digits, cost=each.of("AAPL")) for each in costs}) == 1) is same
    assert (len({search_key(each, algorithm_version="1", digits=digits) for each in asked}) == 1) is same


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), DIGITS)
def test_thresholds_are_told_apart_to_the_last_digit(one: float, other: float, digits: int) -> None:
    same = described(digits=digits, threshold=one) == described(digits=digits, threshold=other)
    assert same is (one == other)


@given(ALPHAS, ALPHAS, DIGITS, st.booleans())
def test_hyper_parameters_that_are_written_alike_are_the_same_also_in_stages(
    one: float, other: float, digits: int, staged: bool
) -> None:
    def of(alpha: float) -> str:
        stages = [({"alpha": alpha}, 10), ({"alpha": 0.5}, 20)] if staged else []
        return described(alpha, digits, stages=stages)

    assert (of(one) == of(other)) is (canonical_json(one, digits) == canonical_json(other, digits))

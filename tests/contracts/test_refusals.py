"""What a producer is told when a message is bad: every fault at once, each at its place, in words that help."""

import json
from typing import Any

import pytest

from schemas.base import Reason
from schemas.commands import Command
from schemas.envelope import Undecodable, decode
from schemas.faults import MOST_REASONS
from schemas.search import SearchRequest
from schemas.ticks import FeatureTick

REQUEST: dict[str, Any] = {"request_id": "r1", "strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"]}


def reasons_for(model: Any, value: bytes | None) -> tuple[Reason, ...]:
    with pytest.raises(Undecodable) as caught:
        decode(model, value)
    return caught.value.reasons


def refused(**changes: Any) -> dict[str, str]:
    """Messages by place, of the search request with these changes."""
    reasons = reasons_for(SearchRequest, json.dumps({**REQUEST, **changes}).encode())
    assert {reason.code for reason in reasons} == {"schema"}
    return {reason.where: reason.message for reason in reasons}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no_value"),
        (b"\xff\xfe{\x00}\x00", "not_utf8"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"NaN", "not_json"),
    ],
)
def test_what_is_no_json_is_one_fault_with_its_own_code(value: bytes | None, code: str) -> None:
    [reason] = reasons_for(SearchRequest, value)
    assert reason.code == code
    assert reason.message


def test_every_fault_is_told_at_once() -> None:
    found = refused(strategy="gird", seed=1.5, costs={"default_bps": -1}, tickers=["AAPL", "-"], stratgy="grid")
    assert set(found) == {"/strategy", "/seed", "/costs/default_bps", "/tickers/1", "/stratgy"}


def test_a_missing_field_is_named() -> None:
    reasons = reasons_for(SearchRequest, b"{}")
    assert [reason.where for reason in reasons] == ["/request_id", "/strategy", "/algorithm", "/tickers"]
    assert {reason.message for reason in reasons} == {"is required: add it"}


def test_the_value_at_fault_is_quoted_and_long_ones_are_cut() -> None:
    assert refused(seed="many") == {"/seed": 'must be a valid integer; it is "many"'}
    assert len(refused(name="n" * 100_000)["/name"]) < 300


def test_a_value_that_fits_no_alternative_is_one_fault() -> None:
    found = refused(param_grid={"alpha": [0.1, None]})
    assert list(found) == ["/param_grid/alpha/1"]


def test_a_fault_deep_in_free_json_is_told_where_it_is() -> None:
    found = refused(cause={"event": [1, {"x": ["\0"]}]})
    assert list(found) == ["/cause/event"]
    assert found["/cause/event"].startswith("/1/x/0 ")


def test_a_name_at_fault_is_told_as_one() -> None:
    found = refused(param_grid={"al/pha~": [1]})
    assert list(found) == ["/param_grid/al~1pha~0"]
    assert found["/param_grid/al~1pha~0"].startswith("as a name, ")


@pytest.mark.parametrize(
    ("value", "words"),
    [(b"{}", "'command'"), (b'{"command":"stop"}', "'cancel'"), (b'{"command":7}', "'cancel'"), (b"[]", "JSON object")],
)
def test_an_unknown_command_is_told_the_known_ones(value: bytes, words: str) -> None:
    [reason] = reasons_for(Command, value)
    assert words in reason.message


def test_of_many_faults_the_first_are_listed_and_the_rest_counted() -> None:
    tick = {"features": {f"feature_{number}": "x" for number in range(500)}}
    reasons = reasons_for(FeatureTick, json.dumps(tick).encode())
    assert len(reasons) == MOST_REASONS + 1
    assert reasons[-1].message.startswith(f"{500 + 4 - MOST_REASONS} more")


LARGE = 100_000


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (FeatureTick, {"features": {f"f{number}": "x" for number in range(LARGE)}}),
        (SearchRequest, {f"f{number}": 1 for number in range(LARGE)}),
        (SearchRequest, {"tickers": [0] * LARGE, "param_grid": {"alpha": [None] * LARGE}}),
    ],
    ids=["values", "names", "items"],
)
def test_of_faults_without_number_only_the_number_is_told(model: Any, value: Any) -> None:
    [reason] = reasons_for(model, json.dumps(value).encode())
    assert int(reason.message.split()[0]) > LARGE


def test_a_megabyte_of_free_json_has_one_fault() -> None:
    nested = "[" * 150 + ",".join(["1e400"] * LARGE) + "]" * 150
    found = reasons_for(SearchRequest, json.dumps({**REQUEST, "cause": {"a": 0}}).replace("0", nested).encode())
    assert [reason.where for reason in found] == ["/cause/a"]


@pytest.mark.parametrize("name", ["n" * 100_000, "\0", "\u202e", "a\nb"])
def test_strange_names_make_printable_reasons_of_bounded_length(name: str) -> None:
    for where, message in refused(**{name: 1}).items():
        assert where.isprintable()
        assert message.isprintable()
        assert len(where) <= 256


def test_the_error_reads_as_a_sentence_for_each_fault() -> None:
    with pytest.raises(Undecodable, match=r"/seed: must be .* 2147483647; it is 9999999999"):
        decode(SearchRequest, json.dumps({**REQUEST, "seed": 9_999_999_999}).encode())

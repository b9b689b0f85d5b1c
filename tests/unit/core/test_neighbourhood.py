from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.algorithms.base import trainer
from orchestrator.core.admission import STRATEGY_FIELDS, Limits, admit
from orchestrator.core.neighbourhood import near_space, near_values, successor
from schemas.policies import RetrainingSearch
from schemas.search import Choice, Deploy, Dimension, IntegerRange, LogUniform, SearchRequest, Uniform

THROUGH = datetime(2026, 11, 20, 21, tzinfo=UTC)
ELASTICNET = trainer("elasticnet")
MEMBERS = ({"alpha": 0.01, "l1_ratio": 0.5},)


def request(strategy: str = "random", **changes: Any) -> SearchRequest:
    asked: dict[str, Any] = {"request_id": "first", "algorithm": "elasticnet", "tickers": ("AAPL",), **changes}
    return SearchRequest(strategy=strategy, **asked)  # type: ignore[arg-type]


def followed(before: SearchRequest, origin: SearchRequest | None = None, **search: Any) -> SearchRequest:
    return successor(
        before,
        origin or before,
        ELASTICNET,
        MEMBERS,
        RetrainingSearch(**search),
        request_id="retrain.desk.1",
        parent="experiment_1",
        cause={"kind": "drift"},
        through=THROUGH,
        deploy=Deploy(ensemble_name="desk", top_n=3, threshold=0.6),
    )


@pytest.mark.parametrize(
    ("dimension", "had", "share", "expected"),
    [
        (Uniform(kind="uniform", low=0, high=10), (5.0,), 0.5, (2.5, 7.5)),
        (Uniform(kind="uniform", low=0, high=10), (1.0,), 0.5, (0.0, 5.0)),
        (Uniform(kind="uniform", low=0, high=10), (10.0,), 0.2, (8.0, 10.0)),
        (Uniform(kind="uniform", low=0, high=10), (1.0, 9.0), 0.5, (1.0, 9.0)),
        (Uniform(kind="uniform", low=0, high=10), (99.0,), 0.5, (5.0, 10.0)),
        (Uniform(kind="uniform", low=0, high=10), (5.0,), 1.0, (0.0, 10.0)),
        (Uniform(kind="uniform", low=0, high=10), (), 0.5, (0.0, 10.0)),
        (LogUniform(kind="loguniform", low=1e-4, high=1.0), (1e-2,), 0.5, (1e-3, 1e-1)),
        (IntegerRange(kind="integer", low=1, high=9), (5,), 0.5, (3, 7)),
    ],
)
def test_a_part_of_a_dimension_lies_around_what_members_have(
    dimension: Dimension, had: tuple[float, ...], share: float, expected: tuple[float, float]
) -> None:
    found = near_space({"x": dimension}, [{"x": each} for each in had], share)["x"]
    assert not isinstance(found, Choice)
    assert (found.low, found.high) == pytest.approx(expected)


def test_of_choices_and_grids_the_nearest_values_stay_in_their_order() -> None:
    values = (1, 2, 4, 8, 16, 32)
    assert near_values({"x": values}, [{"x": 8}], 0.5)["x"] == (4, 8, 16)
    assert near_values({"x": values}, [{"x": 1}, {"x": 32}], 0.1)["x"] == (1, 32)
    assert near_values({"x": values}, [{"x": 7.2}], 0.1)["x"] == (8,)
    assert near_values({"x": values}, [{"x": "other"}], 0.5)["x"] == values
    choice = Choice(kind="choice", values=("a", "b", "c", "d"))
    assert near_space({"x": choice}, [{"x": "c"}], 0.5)["x"] == Choice(kind="choice", values=("b", "c"))


def test_a_successor_asks_for_the_same_near_the_champion_for_a_shadow() -> None:
    before = request(name="mine", holdout=40, expires_at=THROUGH, priority=3, num_samples=30)
    after = followed(before)
    assert (after.request_id, after.parent, after.requested_by) == ("retrain.desk.1", "experiment_1", "policy")
    assert (after.name, after.expires_at, after.holdout, after.priority, after.num_samples) == (None, None, 40, 3, 30)
    assert after.data_end == THROUGH + timedelta(microseconds=1)
    assert after.cause == {"kind": "drift"}
    assert after.deploy == Deploy(auto=True, ensemble_name="desk", top_n=3, threshold=0.6, mode="shadow", gate=False)
    whole, part = ELASTICNET.space["alpha"], (after.space or {})["alpha"]
    assert isinstance(part, LogUniform)
    assert isinstance(whole, LogUniform)
    assert part.high / part.low == pytest.approx((whole.high / whole.low) ** 0.5)


def test_the_window_keeps_its_length_where_it_had_both_ends() -> None:
    start, end = THROUGH - timedelta(days=900), THROUGH - timedelta(days=100)
    rolled = followed(request(data_start=start, data_end=end))
    assert rolled.data_start is not None
    assert rolled.data_end is not None
    assert rolled.data_end - rolled.data_start == end - start
    assert followed(request(data_start=start)).data_start == start
    assert followed(request()).data_start is None


def test_neighbourhoods_of_neighbourhoods_do_not_become_a_point() -> None:
    origin = request()
    once = followed(origin)
    assert followed(once, origin).space == once.space
    other = followed(origin, strategy="grid")
    assert followed(other, origin, strategy="grid").param_grid == other.param_grid


@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
@pytest.mark.parametrize("before", ["grid", "random", "pbt"])
def test_every_strategy_can_follow_every_other(before: str, strategy: str) -> None:
    fields = {"grid": {}, "random": {"num_samples": 9}, "pbt": {"population_size": 4, "num_generations": 2}}[before]
    after = followed(request(before, **fields), strategy=strategy, num_samples=12, population_size=8)
    faults = admit(
        after,
        tickers_available={"AAPL"},
        algorithms={"elasticnet": ELASTICNET},
        limits=Limits(),
        now=THROUGH,
    )
    assert faults == ()
    assert after.num_samples == (12 if "num_samples" in STRATEGY_FIELDS[after.strategy] else None)

from typing import Any

import numpy as np
import pytest

from benchmarks.search import pbt_figures
from benchmarks.searching import Ran
from benchmarks.targets import TARGETS, Disagreement, Target, agree, missed
from tests.unit.benchmarks.test_peers import ours

pytestmark = pytest.mark.slow

GOOD: dict[str, Any] = {
    "linear_grid": {"ours": 500.0, "over_gridsearchcv": 12.0, "over_tune_tuned": 10.0},
    "trees": {"ideal": 5.0, "over_ideal": 0.9, "over_gridsearchcv": 1.0},
    "pbt": {"share": 0.8},
    "streamed": {"peak_gib": 4.0},
    "detectors": {"lost": 0.05},
    "again": {"fits": 0, "drivers": 0, "seconds": 1.5, "fitted_twice": 0},
    "throughput": {"over_quix_streams": 1.5, "over_faust_plain": 20.0},
    "latency": {"over_floor": 3.0},
    "under_search": {"over_idle": 2.9},
    "xgboost_regressor": {"over_quix_streams": 2.0},
    "lightgbm_regressor": {"over_quix_streams": 2.0},
}


def ran(*configurations: str, score: float = 0.5) -> Ran:
    return Ran(2.0, {name: np.array([score, 0.1]) for name in configurations})


def test_figures_that_reach_their_targets_miss_none() -> None:
    assert missed(GOOD) == []
    assert missed({"machine": {}}) == []


@pytest.mark.parametrize("target", [target for part in TARGETS.values() for target in part], ids=lambda each: each.path)
def test_a_figure_beyond_its_target_or_left_out_is_missed(target: Target) -> None:
    part, figure = target.path.split(".")
    beyond = GOOD[part][figure] * 0.5 if target.at_least is not None else GOOD[part][figure] * 2.0 + 1
    assert missed({**GOOD, part: {**GOOD[part], figure: beyond}}) == [target.path]
    assert target.path in missed({**GOOD, part: {}})


def test_contenders_have_so_many_results_and_the_same_scores() -> None:
    agree("peer", ran("a"), ran("a", "b"), 1, 0.01)
    with pytest.raises(Disagreement, match="1 results"):
        agree("peer", ran("a"), ran("a", "b"), 2, 0.01)
    with pytest.raises(Disagreement, match="results"):
        agree("peer", ran("c"), ran("a", "b"), 1, 0.01)
    with pytest.raises(Disagreement, match="from ours"):
        agree("peer", ran("a", score=0.52), ran("a", "b"), 1, 0.01)
    with pytest.raises(Disagreement, match="nan"):
        agree("peer", ran("a", score=float("nan")), ran("a", "b"), 1, 0.01)


def test_a_population_goes_on_training_instead_of_beginning_anew() -> None:
    found = ours("xgboost_regressor", strategy="pbt", population_size=4, num_generations=2)
    figures = pbt_figures(found, slots=1)
    assert figures["steps"] == 8
    assert figures["rounds_trained"] == 4 * 100 * 5
    assert figures["rounds_from_scratch"] == 4 * (50 + 100) * 5
    assert 0 < figures["share_with_start"] <= figures["share"] <= 1

from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.searching import DEVIATION, FOLDS, TICKER, TIMEFRAME, Searched, apart, explained, ground, searched
from orchestrator.algorithms.base import trainer
from orchestrator.search.inline import InlineSearch
from schemas.search import SearchRequest
from tests.unit.search.studies import driver_settings

pytestmark = pytest.mark.slow

LINEAR: peers.Grid = {"alpha": (0.001, 0.01), "l1_ratio": (0.1, 0.9)}
TREES: dict[str, peers.Grid] = {
    "lightgbm": {"num_leaves": (4, 8), "n_estimators": (5,)},
    "xgboost": {"max_depth": (2, 3), "n_estimators": (5,)},
}
OVER = ground(400, 4)


def ours(algorithm: str, **asked: object) -> Searched:
    """A search of ours without Ray."""
    request = SearchRequest.model_validate(
        {"request_id": "r", "algorithm": algorithm, "tickers": (TICKER,), "timeframe": TIMEFRAME, "seed": 3, **asked}
    )
    settings = driver_settings(Path("unused"))
    return searched(InlineSearch(), request, trainer(algorithm), OVER, settings)


def test_elastic_nets_score_as_ours_do_whoever_searches() -> None:
    mine = ours("elasticnet", strategy="grid", param_grid=LINEAR).ran
    rows = peers.Rows.of(OVER, DEVIATION)
    for theirs in (
        peers.gridsearchcv(peers.elastic_net({}), LINEAR, rows, jobs=1, prefix="elasticnet__"),
        peers.optuna_grid(LINEAR, rows),
    ):
        assert theirs.scores.keys() == mine.scores.keys()
        assert len(theirs.scores) == 4
        assert all(len(by_fold) == FOLDS for by_fold in theirs.scores.values())
        assert apart(theirs.scores, mine.scores) < 1e-3


@pytest.mark.parametrize("library", TREES)
def test_trees_score_as_ours_do_whoever_searches(library: str) -> None:
    grid = TREES[library]
    mine = ours(f"{library}_regressor", strategy="grid", param_grid=grid).ran
    kind = peers.TREES[library]
    rows = peers.Rows.of(OVER, kind.unit)
    theirs = peers.gridsearchcv(kind.model(3), grid, rows, jobs=1)
    bare = peers.looped(library, rows, peers.configurations_of(grid), seed=3)
    assert theirs.scores.keys() == bare.scores.keys() == mine.scores.keys()
    assert apart(theirs.scores, mine.scores) < 1e-5
    assert apart(bare.scores, mine.scores) < 1e-5
    assert bare.ideal > bare.rebinning > 0


def test_what_is_explained_is_told_by_fold() -> None:
    actual = [OVER.dataset.target[fold.test] for fold in OVER.folds]
    known = np.concatenate([actual[0], *(np.full(len(part), part.mean()) for part in actual[1:])])
    np.testing.assert_allclose(explained(OVER, known), [1.0, 0.0, 0.0, 0.0, 0.0], atol=1e-12)

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.algorithms.elasticnet import ElasticNetPredictor
from orchestrator.core.draft import EnsembleDraft
from serving.answer import BatchAnswer, answer
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.version import LoadedVersion, ServedVersion, load_version
from tests.unit.serving.drafts import batch, candidate, draft


def load(directory: Path, made: EnsembleDraft) -> LoadedVersion:
    artifacts = Artifacts(directory)
    digest = EnsembleAssembler(artifacts).assemble(made).digest
    return load_version(ServedVersion(made.ensemble, 1, digest, "live", "passed"), artifacts)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedVersion:
    return load(tmp_path, draft(candidate("t1"), candidate("t2", seed=1), candidate("t3", "MSFT"), cost=0.0))


def codes(found: BatchAnswer) -> list[list[str]]:
    return [[reason.code for reason in reasons] for reasons in found.reasons]


def test_every_row_gets_the_answer_of_its_own_ticker(loaded: LoadedVersion) -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 3))
    tickers = ("MSFT", "AAPL", "MSFT", "TSLA", "AAPL", "MSFT")
    found = answer(loaded, batch(tickers, matrix))
    assert found.covered.tolist() == [True, True, True, False, True, True]
    assert np.isfinite(found.score).tolist() == found.covered.tolist()
    assert found.members == {"AAPL": ("t1", "t2"), "MSFT": ("t3",)}
    assert found.predictions.shape == (6, 2)
    for row, ticker in enumerate(tickers):
        alone = answer(loaded, batch((ticker,), matrix[row : row + 1]))
        assert np.array_equal(found.score[row], alone.score[0], equal_nan=True)
        assert np.array_equal(found.predictions[row, : alone.predictions.shape[1]], alone.predictions[0])
        assert np.array_equal(found.edge_bps[row], alone.edge_bps[0], equal_nan=True)


def test_members_find_their_features_by_name(loaded: LoadedVersion) -> None:
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    straight = answer(loaded, batch(("AAPL",) * 3, matrix))
    shuffled = np.column_stack([matrix[:, 2], np.full(3, 9.9), matrix[:, 0], matrix[:, 1]])
    found = answer(loaded, batch(("AAPL",) * 3, shuffled, ("rsi_14", "unused", "momentum", "volatility_20")))
    assert found.score.tolist() == straight.score.tolist()


def test_a_row_abstains_where_a_feature_is_missing_or_not_finite_and_the_others_answer(loaded: LoadedVersion) -> None:
    matrix = np.array([[0.1, 0.2, 0.3], [np.nan, 0.2, np.nan], [0.1, np.inf, 0.3], [np.nan, np.inf, 0.3]])
    found = answer(loaded, batch(("AAPL",) * 4, matrix))
    assert np.isfinite(found.score).tolist() == [True, False, False, False]
    assert found.covered.all()
    assert codes(found) == [[], ["missing_feature"], ["not_finite"], ["missing_feature", "not_finite"]]
    assert found.reasons[1][0].message == "momentum, rsi_14: missing; the ensemble abstains."


def test_a_column_that_the_batch_has_not_is_missing_in_every_row(loaded: LoadedVersion) -> None:
    found = answer(loaded, batch(("AAPL", "AAPL"), np.zeros((2, 1)), ("rsi_14",)))
    assert codes(found) == [["missing_feature"]] * 2
    assert found.reasons[0] is found.reasons[1]


def test_at_most_five_missing_features_are_named(tmp_path: Path) -> None:
    names = tuple(f"x{number}" for number in range(8))
    predictor = ElasticNetPredictor(feature_names=names, coefficients=(0.1,) * 8, intercept=0.0)
    wide = replace(candidate("t1"), predictor=predictor, probe=np.ones((1, 8)))
    found = answer(load(tmp_path, draft(wide)), batch(("AAPL",), np.zeros((1, 0)), ()))
    assert found.reasons[0][0].message.startswith("x0, x1, x2, x3, x4 and 3 more: missing")


@pytest.mark.parametrize("value", [1e300, 1.7e308])
def test_a_prediction_beyond_belief_is_a_lost_member(loaded: LoadedVersion, value: float) -> None:
    found = answer(loaded, batch(("AAPL",), np.full((1, 3), value)))
    assert np.isnan(found.score[0])
    assert codes(found) == [["member_lost"]]
    assert found.reasons[0][0].message.startswith("t1, t2: no credible prediction")


RANGES = {"momentum": (-1.0, 1.0), "volatility_20": (0.5, 0.5)}
INSIDE = (0.0, 0.5, 99.0)


@pytest.mark.parametrize(
    ("row", "margin", "expected", "named"),
    [
        (INSIDE, 0.0, [], ""),
        ((1.0, 0.5, 99.0), 0.0, [], ""),
        ((1.1, 0.5, 99.0), 0.0, ["out_of_range"], "momentum: "),
        ((-1.1, 0.5, 99.0), 0.0, ["out_of_range"], "momentum: "),
        ((3.0, 0.5, 99.0), 1.0, [], ""),
        ((3.1, 0.5, 99.0), 1.0, ["out_of_range"], "momentum: "),
        ((0.0, 0.6, 99.0), 9.0, ["out_of_range"], "volatility_20: "),
        ((9.0, 0.6, 99.0), 1.0, ["out_of_range"], "momentum, volatility_20: "),
        ((9.0, 0.6, 99.0), None, [], ""),
        ((np.nan, 0.6, np.inf), 1.0, ["missing_feature", "not_finite", "out_of_range"], "momentum: "),
        ((1.7e308, 0.5, 99.0), 1e308, ["member_lost"], "t1: "),
    ],
)
def test_a_row_abstains_where_a_feature_is_too_far_outside_its_range_in_training(
    tmp_path: Path, row: tuple[float, ...], margin: float | None, expected: list[str], named: str
) -> None:
    narrow = load(tmp_path, replace(draft(candidate("t1"), cost=0.0), ranges={"AAPL": RANGES}))
    rows = replace(batch(("AAPL", "AAPL"), np.array([row, INSIDE])), margin=margin)
    found = answer(narrow, rows)
    assert codes(found) == [expected, []]
    assert np.isfinite(found.score).tolist() == [not expected, True]
    assert not expected or found.reasons[0][0].message.startswith(named)


def test_a_version_whose_ranges_are_not_known_answers_whatever_the_margin(loaded: LoadedVersion) -> None:
    found = answer(loaded, replace(batch(("AAPL",), np.full((1, 3), 50.0)), margin=0.0))
    assert codes(found) == [[]]


def test_ticks_of_another_timeframe_are_not_covered(loaded: LoadedVersion) -> None:
    found = answer(loaded, batch(("AAPL",), timeframe="5m"))
    assert not found.covered.any()
    assert np.isnan(found.score).all()


def test_an_empty_batch_has_an_empty_answer(loaded: LoadedVersion) -> None:
    assert len(answer(loaded, batch((), np.zeros((0, 3)))).score) == 0


def test_an_edge_below_the_costs_enters_no_position_and_says_so(tmp_path: Path) -> None:
    dear = load(tmp_path, draft(candidate("t1"), cost=0.5))
    found = answer(dear, batch(("AAPL", "AAPL"), np.array([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])))
    assert found.score[0] == found.threshold
    assert codes(found)[0] == ["edge_below_costs"]
    assert abs(found.score[1]) <= found.threshold


def test_a_strong_feature_makes_a_strong_signal(loaded: LoadedVersion) -> None:
    found = answer(loaded, batch(("AAPL", "AAPL"), np.array([[5.0, 0.0, 0.0], [-5.0, 0.0, 0.0]])))
    assert found.score.tolist() == [1.0, -1.0]
    assert (found.edge_bps * [1, -1] > 100).all()
    assert (found.p_correct > 0.5).all()
    assert found.votes.tolist() == [[1, 1], [-1, -1]]


def test_what_a_soft_vote_was_before_its_calibration_is_told_with_what_rolling_it_forward_takes(
    loaded: LoadedVersion,
) -> None:
    found = answer(loaded, batch(("AAPL", "TSLA"), np.array([[0.5, 0.0, 0.0]] * 2)))
    panel = loaded.panels["AAPL"]
    assert found.worth == {"AAPL": panel.worth}
    assert panel.worth is not None
    assert found.opinion[:1].tolist() == panel.calibration.score(found.raw[:1]).tolist()
    assert panel.worth.chance_at(found.opinion[0]) == pytest.approx(found.p_correct[0])
    assert np.isnan([found.raw[1], found.opinion[1]]).all()


@pytest.mark.parametrize("rules", [{"voting": "hard"}, {"calibration": "none"}])
def test_of_a_hard_vote_and_of_one_without_calibration_nothing_rolls(tmp_path: Path, rules: dict[str, Any]) -> None:
    found = answer(load(tmp_path, replace(draft(candidate("t1")), **rules)), batch(("AAPL",)))
    assert found.worth == {}
    assert np.isfinite(found.score).all()

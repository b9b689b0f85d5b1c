import numpy as np
import pytest

from orchestrator.core.arrays import Floats
from orchestrator.core.diversity import effective_votes
from orchestrator.core.survivors import Contender, Selection, select

RANDOM = np.random.default_rng(11)
VIEWS = RANDOM.normal(size=(6, 300))


def contender(
    trial: str,
    metric: float | None,
    prediction: Floats | None,
    *,
    ticker: str = "AAPL",
    eligible: bool = True,
    fingerprint: str | None = None,
) -> Contender:
    predictions = None if prediction is None else (prediction,)
    return Contender(trial, (ticker,), {}, fingerprint or trial, metric, eligible, predictions)


def kept(selection: Selection) -> list[tuple[str, str, int]]:
    return [(each.contender.tickers[0], each.contender.trial, each.rank) for each in selection.kept]


def test_the_best_of_each_ticker_are_kept_in_rank_order() -> None:
    selection = select(
        [
            contender("m1", 1.0, VIEWS[0], ticker="MSFT"),
            contender("a1", 0.5, VIEWS[1]),
            contender("a2", 1.5, VIEWS[2]),
            contender("a3", 0.9, VIEWS[3]),
        ],
        top_n=2,
    )
    assert kept(selection) == [("AAPL", "a2", 1), ("AAPL", "a3", 2), ("MSFT", "m1", 1)]
    assert selection.passed_over == ()


def test_a_metric_to_be_small_ranks_the_other_way() -> None:
    selection = select([contender("a", 0.3, VIEWS[0]), contender("b", 0.1, VIEWS[1])], top_n=1, mode="min")
    assert kept(selection) == [("AAPL", "b", 1)]


def test_ties_go_to_the_lower_fingerprint() -> None:
    pair = [contender("a", 1.0, VIEWS[0], fingerprint="ff"), contender("b", 1.0, VIEWS[1], fingerprint="00")]
    assert kept(select(pair, top_n=1)) == kept(select(pair[::-1], top_n=1)) == [("AAPL", "b", 1)]


def test_a_near_clone_of_a_better_trial_is_passed_over() -> None:
    selection = select(
        [
            contender("best", 2.0, VIEWS[0]),
            contender("clone", 1.9, 3 * VIEWS[0] + 0.01 * VIEWS[1] + 5),
            contender("opposite", 1.8, -VIEWS[0]),
            contender("other", 1.0, VIEWS[2]),
        ],
        top_n=3,
    )
    assert [name for _, name, _ in kept(selection)] == ["best", "opposite", "other"]
    (reason,) = selection.passed_over
    assert (reason.code, reason.where) == ("near_clone", "AAPL")
    assert reason.message == "1 trial: clone: correlate with best above 0.99"


def test_what_cannot_be_selected_is_said_in_a_few_sentences() -> None:
    selection = select(
        [
            *(contender(f"failed{number}", None, None) for number in range(5)),
            contender("flat", None, VIEWS[0]),
            contender("infinite", float("nan"), VIEWS[0]),
            contender("constant", 9.0, VIEWS[1], eligible=False),
        ],
        top_n=3,
    )
    assert selection.kept == ()
    assert [reason.code for reason in selection.passed_over] == ["failed", "no_score", "not_eligible"]
    assert "failed0, failed1, failed2 and 2 more" in selection.passed_over[0].message


def test_bars_without_an_opinion_do_not_hide_a_clone() -> None:
    gaps = VIEWS[0].copy()
    gaps[:3] = np.nan
    selection = select([contender("a", 2.0, VIEWS[0]), contender("b", 1.0, gaps)], top_n=2, correlation_limit=0.9)
    assert kept(selection) == [("AAPL", "a", 1)]


def test_a_prediction_of_nothing_at_all_is_nobodys_clone() -> None:
    pair = [contender("a", 2.0, np.full(5, np.nan)), contender("b", 1.0, np.zeros(5))]
    assert len(select(pair, top_n=2).kept) == 2


def test_predictions_of_different_bars_are_an_error() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        select([contender("a", 2.0, VIEWS[0]), contender("b", 1.0, VIEWS[1][:10])], top_n=2)


def test_the_effective_votes_of_each_ticker_are_those_of_its_survivors() -> None:
    selection = select(
        [
            contender("a", 3.0, VIEWS[0]),
            contender("b", 2.0, VIEWS[0] + 0.5 * VIEWS[1]),
            contender("c", 1.0, VIEWS[2]),
            contender("d", 2.0, VIEWS[3], ticker="MSFT"),
            contender("e", None, VIEWS[4], ticker="IBM"),
        ],
        top_n=2,
    )
    expected = effective_votes([VIEWS[0], VIEWS[0] + 0.5 * VIEWS[1]])
    assert 1 < expected < 2
    assert selection.effective_votes == {"AAPL": expected, "MSFT": pytest.approx(1.0)}


def together(trial: str, metric: float, *predictions: Floats) -> Contender:
    return Contender(trial, ("AAPL", "MSFT"), {}, trial, metric, True, predictions)


def test_a_trial_on_several_tickers_is_a_clone_only_where_it_is_one_on_all() -> None:
    best = together("best", 3.0, VIEWS[0], VIEWS[1])
    half = together("half", 2.0, VIEWS[0], VIEWS[2])
    clone = together("clone", 1.0, 2 * VIEWS[0], VIEWS[1] + 1)
    selection = select([clone, half, best], top_n=3)
    assert [(each.contender.trial, each.rank) for each in selection.kept] == [("best", 1), ("half", 2)]
    (reason,) = selection.passed_over
    assert (reason.code, reason.where) == ("near_clone", "AAPL, MSFT")
    assert selection.effective_votes == {
        "AAPL": pytest.approx(1.0),
        "MSFT": effective_votes([VIEWS[1], VIEWS[2]]),
    }


def test_a_reason_about_many_tickers_names_a_few() -> None:
    tickers = tuple(f"T{number}" for number in range(1000))
    failed = Contender("a", tickers, {}, "a", None, False, None)
    (reason,) = select([failed], top_n=1).passed_over
    assert reason.where == "T0, T1, T2 and 997 more"

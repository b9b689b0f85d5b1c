import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import expected_maximum, moments, psr
from orchestrator.core.draft import Assembled
from orchestrator.core.scoring import trade
from orchestrator.search.judgement import Luck, deflated, luck_of, nothing_to_judge, profit_of
from orchestrator.store.ledger import LedgerRow
from tests.unit.search.studies import search_request, study

ASSEMBLED = Assembled(manifest={}, digest="0" * 64, threshold=0.7, exit_threshold=0.35, scores={})


def row(profit: Floats, span: str = "a", ticker: str = "AAA") -> LedgerRow:
    observed = moments(profit)
    return LedgerRow(
        lineage=f"lineage of {ticker}",
        fingerprint=str(profit[0]),
        experiment="experiment",
        ticker=ticker,
        sharpe_per_session=None if observed is None else observed.sharpe,
        sessions=len(profit),
        span_digest=span,
        profit=profit.astype(np.float32),
    )


def noise(count: int, sessions: int = 250, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, sessions))


def test_every_configuration_ever_scored_counts_even_one_without_a_sharpe_ratio() -> None:
    rows = [row(profit) for profit in noise(5)]
    undefined = row(np.zeros(250))
    assert luck_of([*rows, undefined]).trials == 6
    assert luck_of([*rows, undefined]).variance == pytest.approx(luck_of(rows).variance)


def test_trials_of_different_spans_are_told_apart() -> None:
    rows = [row(profit, "a") for profit in noise(4)] + [row(profit, "b") for profit in noise(4, 100, seed=2)]
    assert 0 < luck_of(rows).variance <= 1 / 99 * 1.2


def test_a_configuration_on_several_tickers_is_one() -> None:
    rows = [replace(row(profit, ticker=ticker), fingerprint="f") for ticker, profit in zip("AB", noise(2), strict=True)]
    assert luck_of(rows).trials == 1


def test_a_search_on_more_or_fewer_tickers_counts_what_was_tried_on_each() -> None:
    first = [row(profit, ticker="A") for profit in noise(5)]
    other = [row(profit, ticker="B") for profit in noise(3, seed=2)]
    both = luck_of(first + other)
    assert both.trials == 8
    assert both.by_ticker == {"A": luck_of(first), "B": luck_of(other)}
    assert luck_of(first + other, together=True) == replace(both, by_ticker={})
    assert luck_of(first).by_ticker == {}


def test_the_best_of_each_ticker_together_show_more_than_the_best_of_all() -> None:
    alone = Luck(20, 0.001)
    both = Luck(40, 0.001, {"A": alone, "B": alone})
    assert alone.benchmark() == alone.benchmark({"A": 1.0}) == expected_maximum(20, 0.001)
    # Profits with nothing in common: each deviates by 1 / sqrt(2) of their sum.
    apart = {"A": math.sqrt(0.5), "B": math.sqrt(0.5)}
    assert both.benchmark(apart) == pytest.approx(math.sqrt(2) * alone.benchmark())
    # Alike, they are as one: the more was tried, the more the best of all shows.
    assert both.benchmark({"A": 0.5, "B": 0.5}) == both.benchmark() == expected_maximum(40, 0.001)


@pytest.mark.parametrize("tickers", [1, 4, 16])
def test_picking_the_best_of_each_ticker_from_noise_seldom_passes(tickers: int) -> None:
    random, passed = np.random.default_rng(9), 0
    for _ in range(60):
        rows, best = [], []
        for ticker in map(str, range(tickers)):
            common = random.normal(size=250)
            own = [row(0.7 * common + 0.7 * random.normal(size=250), ticker=ticker) for _ in range(10)]
            rows += own
            best.append(max(own, key=lambda each: each.sharpe_per_session or 0.0).profit)
        whole = np.mean(best, axis=0)
        shares = {str(place): float(np.std(each) / tickers / np.std(whole)) for place, each in enumerate(best)}
        observed = moments(whole)
        assert observed is not None
        passed += (psr(observed, luck_of(rows).benchmark(shares)) or 0.0) >= 0.95
    assert passed <= 9


def test_a_lineage_without_history_leaves_nothing_to_luck() -> None:
    assert luck_of([]) == Luck(trials=0, variance=0.0)
    assert luck_of([row(noise(1)[0])]).variance == 0.0


@given(st.integers(2, 30))
def test_the_more_was_tried_the_less_the_same_profit_says(count: int) -> None:
    profit = noise(1, seed=7)[0] + 0.1
    few = luck_of([row(each) for each in noise(2)])
    before, after = deflated(profit, few), deflated(profit, replace(few, trials=few.trials + count))
    assert before is not None
    assert after is not None
    assert after < before


def test_the_deflated_sharpe_ratio_of_no_variance_is_undefined() -> None:
    assert deflated(np.zeros(100), luck_of([])) is None


def test_a_ticker_s_stake_is_the_inverse_of_its_risk_before_the_first_score(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(("AAA", "BBB")))
    rows = np.concatenate([fold.test for fold in work.grounds["AAA"].folds])
    datasets = {ticker: ground.dataset for ticker, ground in work.grounds.items()}
    wild = replace(datasets["BBB"], bar_return=10 * datasets["BBB"].bar_return)
    rng = np.random.default_rng(3)
    scores = {ticker: (each.event_time[rows], rng.uniform(-1, 1, len(rows))) for ticker, each in datasets.items()}
    free = {"AAA": 0.0, "BBB": 0.0}
    tame = profit_of(ASSEMBLED, scores, datasets, free)
    restless = profit_of(ASSEMBLED, scores, {**datasets, "BBB": wild}, free)
    # Ten times the moves at a tenth of the stake: the same portfolio, up to its size.
    size = np.linalg.norm(restless.total.profit) / np.linalg.norm(tame.total.profit)
    np.testing.assert_allclose(restless.total.profit, size * tame.total.profit, atol=1e-12)
    np.testing.assert_allclose(restless.active.profit, size * tame.active.profit, atol=1e-12)
    assert restless.total.shares == pytest.approx(tame.total.shares)


def test_the_shares_of_tickers_say_how_much_of_their_deviation_is_left_together(tmp_path: Path) -> None:
    work = study(tmp_path, search_request(("AAA", "BBB")))
    datasets = {ticker: ground.dataset for ticker, ground in work.grounds.items()}
    rows = np.concatenate([fold.test for fold in work.grounds["AAA"].folds])
    score = np.random.default_rng(3).uniform(-1, 1, len(rows))
    scores = {ticker: (each.event_time[rows], score) for ticker, each in datasets.items()}
    apart = profit_of(ASSEMBLED, scores, datasets, {"AAA": 0.0, "BBB": 0.0}).total
    assert sum(share**2 for share in apart.shares.values()) == pytest.approx(1.0, abs=0.3)
    twins = {"AAA": datasets["AAA"], "BBB": replace(datasets["AAA"], ticker="BBB")}
    alike = profit_of(ASSEMBLED, scores, twins, {"AAA": 0.0, "BBB": 0.0}).total
    assert alike.shares == pytest.approx({"AAA": 0.5, "BBB": 0.5})
    idle = profit_of(ASSEMBLED, {"AAA": (scores["AAA"][0], 0 * score)}, datasets, {"AAA": 0.0}).total
    assert idle.shares == {"AAA": 0.0}


def test_one_ticker_s_profit_is_its_own(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    ground = work.grounds["AAA"]
    rows = np.concatenate([fold.test for fold in ground.folds])
    score = np.random.default_rng(3).uniform(-1, 1, len(rows))
    history = trade(ground.dataset, rows, score, threshold=0.7, exit_threshold=0.35, cost=0.001)
    profit = profit_of(
        ASSEMBLED, {"AAA": (ground.dataset.event_time[rows], score)}, {"AAA": ground.dataset}, {"AAA": 0.001}
    )
    np.testing.assert_allclose(profit.total.profit, history.session_profit)
    np.testing.assert_allclose(profit.active.profit, history.active_profit)
    assert profit.total.shares == profit.active.shares == {"AAA": pytest.approx(1.0)}


def test_where_nothing_survived_the_verdict_says_so() -> None:
    verdict = nothing_to_judge(luck_of([row(profit) for profit in noise(5)]))
    assert not verdict.passed
    assert [reason.code for reason in verdict.reasons] == ["no_survivors"]
    assert verdict.trials == 5

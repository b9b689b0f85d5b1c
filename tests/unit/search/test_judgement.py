from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.arrays import Floats
from orchestrator.core.draft import Assembled
from orchestrator.core.profit import combined
from orchestrator.core.scoring import trade
from orchestrator.search.judgement import Luck, deflated, luck_of, nothing_to_judge, profit_of
from orchestrator.store.ledger import LedgerRow
from tests.unit.search.studies import search_request, study

ASSEMBLED = Assembled(manifest={}, digest="0" * 64, threshold=0.7, exit_threshold=0.35, scores={})


def row(profit: Floats, span: str = "a", sharpe: float | None = None) -> LedgerRow:
    observed = float(np.mean(profit) / np.std(profit, ddof=1)) if sharpe is None else sharpe
    return LedgerRow(
        "lineage", str(profit[0]), "experiment", "AAA", observed, len(profit), span, profit.astype(np.float32)
    )


def noise(count: int, sessions: int = 250, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, sessions))


def test_every_configuration_ever_scored_counts_even_one_without_a_sharpe_ratio() -> None:
    rows = [row(profit) for profit in noise(5)]
    undefined = replace(row(np.zeros(250), sharpe=0.0), sharpe_per_session=None)
    assert luck_of([*rows, undefined]).trials == 6
    assert luck_of([*rows, undefined]).variance == pytest.approx(luck_of(rows).variance)


def test_trials_of_different_spans_are_told_apart() -> None:
    rows = [row(profit, "a") for profit in noise(4)] + [row(profit, "b") for profit in noise(4, 100, seed=2)]
    assert 0 < luck_of(rows).variance <= 1 / 99 * 1.2


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
    size = np.linalg.norm(restless.total) / np.linalg.norm(tame.total)
    np.testing.assert_allclose(restless.total, size * tame.total, atol=1e-12)
    np.testing.assert_allclose(restless.active, size * tame.active, atol=1e-12)


def test_one_ticker_s_profit_is_its_own(tmp_path: Path) -> None:
    work = study(tmp_path, search_request())
    ground = work.grounds["AAA"]
    rows = np.concatenate([fold.test for fold in ground.folds])
    score = np.random.default_rng(3).uniform(-1, 1, len(rows))
    history = trade(ground.dataset, rows, score, threshold=0.7, exit_threshold=0.35, cost=0.001)
    profit = profit_of(
        ASSEMBLED, {"AAA": (ground.dataset.event_time[rows], score)}, {"AAA": ground.dataset}, {"AAA": 0.001}
    )
    np.testing.assert_allclose(profit.total, combined([(history.session_ids, history.session_profit)])[1])
    np.testing.assert_allclose(profit.active, history.active_profit)


def test_where_nothing_survived_the_verdict_says_so() -> None:
    verdict = nothing_to_judge(luck_of([row(profit) for profit in noise(5)]))
    assert not verdict.passed
    assert [reason.code for reason in verdict.reasons] == ["no_survivors"]
    assert verdict.trials == 5

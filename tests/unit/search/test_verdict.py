from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.arrays import Floats
from orchestrator.core.deflation import moments
from orchestrator.core.draft import Assembled
from orchestrator.search.appraisal import Appraisal, span_of
from orchestrator.search.judgement import Portfolio, Profit, luck_of
from orchestrator.search.selection import Wish
from orchestrator.search.verdict import Candidacy, decide
from orchestrator.store.ledger import LedgerRow
from schemas.search import Deploy
from tests.unit.search.studies import search_request, study

ASSEMBLED = Assembled(manifest={}, digest="0" * 64, threshold=0.7, exit_threshold=0.35, scores={})
WISH = Wish("request-1", Deploy(auto=True))
NOISE = np.random.default_rng(2).normal(size=(2, 10, 500))
APART = {"AAA": 0.8, "BBB": 0.6}


def scored(number: int, ticker: str, profit: Floats) -> LedgerRow:
    observed = moments(profit)
    assert observed is not None
    return LedgerRow(ticker, f"{ticker}{number}", "e", ticker, observed.sharpe, 500, "s", profit.astype(np.float32))


ROWS = [
    scored(number, ticker, profit)
    for ticker, profits in zip(APART, NOISE, strict=True)
    for number, profit in enumerate(profits)
]


def appraisal(*tickers: str, drift: float = 0.2) -> Appraisal:
    earned = Portfolio(NOISE[0, 0] + drift, {ticker: APART[ticker] for ticker in tickers})
    return Appraisal(ASSEMBLED, "ensemble", tickers, 3, Profit(earned, earned), None, 252)


def test_an_ensemble_is_judged_by_the_luck_of_its_own_tickers() -> None:
    one = decide(Candidacy(WISH, appraisal("AAA")), ROWS, 0, "paper", together=False).verdict
    assert one.trials == 10
    assert one.benchmark_sharpe == luck_of(ROWS[:10]).benchmark()
    both = decide(Candidacy(WISH, appraisal("AAA", "BBB")), ROWS, 0, "paper", together=False).verdict
    assert both.trials == 20
    assert both.benchmark_sharpe == luck_of(ROWS).benchmark(APART)


def test_picks_on_all_tickers_at_once_are_the_best_of_all() -> None:
    verdict = decide(Candidacy(WISH, appraisal("AAA", "BBB")), ROWS, 0, "paper", together=True).verdict
    assert verdict.benchmark_sharpe == luck_of(ROWS, together=True).benchmark(APART) == luck_of(ROWS).benchmark()


def test_the_hold_out_is_judged_by_the_number_of_the_look() -> None:
    noise = NOISE[1, 0]
    candidacy = Candidacy(WISH, replace(appraisal("AAA"), holdout=(noise - noise.mean()) / noise.std() + 0.12))
    assert decide(candidacy, ROWS, 1, "paper", together=False).verdict.passed
    verdict = decide(candidacy, ROWS, 7, "paper", together=False).verdict
    assert verdict.looks == 7
    assert [reason.where for reason in verdict.reasons] == ["holdout_psr"]


@pytest.mark.parametrize(("deploy", "mode"), [(Deploy(auto=True, gate=False), "paper"), (Deploy(gate=False), None)])
def test_what_is_not_to_be_deployed_has_nothing_to_override(deploy: Deploy, mode: str | None) -> None:
    candidacy = Candidacy(Wish("request-1", deploy), appraisal("AAA", drift=-1.0))
    assert decide(candidacy, ROWS, 0, "paper", together=False).mode == mode


def test_without_survivors_the_luck_of_all_tickers_is_told() -> None:
    decision = decide(Candidacy(WISH, None), ROWS, 0, "live", together=False)
    assert decision.mode is None
    assert decision.verdict.trials == 20


def test_a_hold_out_s_span_is_its_first_and_its_last_bar(tmp_path: Path) -> None:
    (holdout,) = study(tmp_path, search_request(holdout=50)).holdouts.values()
    span = span_of(holdout)
    times = holdout.dataset.event_time
    assert span.start.utcoffset() == timedelta(0)
    assert [np.datetime64(moment.replace(tzinfo=None)) for moment in (span.start, span.end)] == [times[-50], times[-1]]

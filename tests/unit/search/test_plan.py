from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.plan import LARGEST_BLOCK, ROUNDS, PlannedTrial, blocks_of, trials_of
from schemas.base import Scalar

TICKERS = st.lists(st.sampled_from(["AAPL", "GOOG", "IBM", "MSFT"]), min_size=1, unique=True)
SLOTS = st.integers(1, 12)


def plan(tickers: list[str], count: int) -> tuple[PlannedTrial, ...]:
    configurations: list[dict[str, Scalar]] = [{"alpha": number} for number in range(count)]
    return trials_of(tickers, configurations, fingerprint)


def fingerprint(ticker: str, configuration: Mapping[str, Scalar]) -> str:
    return f"{ticker} {configuration['alpha']}"


@given(TICKERS, st.integers(0, 60))
def test_every_configuration_is_tried_once_on_every_ticker(tickers: list[str], count: int) -> None:
    trials = plan(tickers, count)
    assert [(trial.ticker, trial.configuration["alpha"]) for trial in trials] == [
        (ticker, number) for ticker in tickers for number in range(count)
    ]
    assert all(trial.fingerprint == fingerprint(trial.ticker, trial.configuration) for trial in trials)


def test_a_trial_is_named_by_its_place() -> None:
    assert [trial.trial for trial in plan(["AAPL", "IBM"], 2)] == ["t00001", "t00002", "t00003", "t00004"]


@given(TICKERS, st.integers(0, 60), SLOTS)
def test_blocks_hold_every_trial_once_and_in_order(tickers: list[str], count: int, slots: int) -> None:
    trials = plan(tickers, count)
    blocks = blocks_of(trials, slots=slots)
    assert tuple(trial for block in blocks for trial in block.trials) == trials
    assert [block.number for block in blocks] == list(range(len(blocks)))


@given(TICKERS, st.integers(1, 60), SLOTS)
def test_a_block_is_of_one_ticker_and_neither_empty_nor_too_large(tickers: list[str], count: int, slots: int) -> None:
    for block in blocks_of(plan(tickers, count), slots=slots):
        assert 1 <= len(block.trials) <= LARGEST_BLOCK
        assert {trial.ticker for trial in block.trials} == {block.ticker}


@given(TICKERS, st.integers(1, 60), SLOTS)
def test_a_ticker_s_blocks_are_almost_equal(tickers: list[str], count: int, slots: int) -> None:
    blocks = blocks_of(plan(tickers, count), slots=slots)
    for ticker in tickers:
        sizes = [len(block.trials) for block in blocks if block.ticker == ticker]
        assert max(sizes) - min(sizes) <= 1


@given(TICKERS, st.integers(1, 60), SLOTS)
def test_no_slot_is_left_without_work_that_there_is(tickers: list[str], count: int, slots: int) -> None:
    trials = plan(tickers, count)
    assert len(blocks_of(trials, slots=slots)) >= min(len(trials), ROUNDS * slots)

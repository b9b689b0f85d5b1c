from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.bars import Bars
from orchestrator.core.calendar import ALWAYS_OPEN, calendar_named
from orchestrator.core.dataset import Dataset, Terms, prepare
from orchestrator.core.errors import Refused
from orchestrator.core.splits import Fold, FoldPlan, purged_walk_forward

BARS = 60
TIMES = np.datetime64("2024-07-01T12:00", "us") + np.arange(BARS) * np.timedelta64(4 * 3600 * 10**6, "us")
"""Six bars to a session."""


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[int], int, tuple[Fold, ...]]:
    """Label ends of any reach (as at the close of a session), an embargo, and the folds that they give."""
    reaches = draw(st.lists(st.integers(0, 30), min_size=2, max_size=120))
    label_end = [row + reach for row, reach in enumerate(reaches)]
    embargo = draw(st.integers(0, 20))
    folds, initial = draw(st.integers(1, 8)), draw(st.floats(0.01, 0.99))
    try:
        found = purged_walk_forward(np.array(label_end), folds=folds, initial=initial, embargo=embargo)
    except Refused:
        found = ()
    return label_end, embargo, found


@given(splits())
def test_no_training_label_meets_a_test_span_or_its_embargo(case: tuple[list[int], int, tuple[Fold, ...]]) -> None:
    label_end, embargo, folds = case
    for fold in folds:
        forbidden = range(int(fold.test[0]) - embargo, int(fold.test[-1]) + 1)
        for row in fold.train.tolist():
            assert not set(range(row, label_end[row] + 1)) & set(forbidden)


@given(splits())
def test_the_tests_are_consecutive_reach_the_end_and_follow_their_training(
    case: tuple[list[int], int, tuple[Fold, ...]],
) -> None:
    label_end, _, folds = case
    if folds:
        tested = np.concatenate([fold.test for fold in folds]).tolist()
        assert tested == list(range(tested[0], len(label_end)))
        lengths = [len(fold.test) for fold in folds]
        assert max(lengths) - min(lengths) <= 1
    for earlier, later in pairwise(folds):
        assert set(earlier.train.tolist()) <= set(later.train.tolist())


@given(splits())
def test_every_row_that_may_train_does(case: tuple[list[int], int, tuple[Fold, ...]]) -> None:
    label_end, embargo, folds = case
    for fold in folds:
        start = int(fold.test[0]) - embargo
        assert fold.train.tolist() == [row for row in range(int(fold.test[0])) if label_end[row] < start]


def dataset(prices: np.ndarray[tuple[int], np.dtype[np.float64]], terms: Terms) -> Dataset:
    bars = Bars("BTC", "4h", TIMES, prices[1:], ("a",), np.zeros((BARS, 1)), "0" * 64, open=prices[:-1])
    return prepare(bars, terms, calendar_named(ALWAYS_OPEN))


@given(
    st.builds(
        Terms,
        horizon=st.integers(1, 5),
        execution=st.sampled_from(["next_open", "next_close", "same_close"]),
        session_policy=st.sampled_from(["hold", "flat_at_close"]),
    ),
    st.builds(FoldPlan, folds=st.integers(1, 6), initial=st.floats(0.1, 0.8), embargo=st.integers(0, 12)),
    st.integers(0, 2**32 - 1),
)
def test_no_training_target_knows_a_price_of_the_test_span_or_its_embargo(
    terms: Terms, plan: FoldPlan, seed: int
) -> None:
    prices = np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, BARS + 1)))
    try:
        before = dataset(prices, terms)
        folds = plan.split(before.label_end)
    except Refused:
        return
    for fold in folds:
        # The close of the bar before is the open of the first bar that must not be known.
        changed = np.where(np.arange(BARS + 1) > fold.test[0] - plan.embargo, 7.0 * prices, prices)
        after = dataset(changed, terms)
        assert np.isfinite(before.target[fold.train]).all()
        np.testing.assert_array_equal(before.target[fold.train], after.target[fold.train])
        if terms.session_policy == "flat_at_close":
            ends = before.label_end[fold.train]
            assert (before.session[fold.train] == before.session[ends]).all()

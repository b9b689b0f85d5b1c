import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.survivors import Contender, select

VIEWS = np.random.default_rng(1).normal(size=(5, 30))


@st.composite
def contenders(draw: st.DrawFn) -> list[Contender]:
    """Trials of two tickers with many ties, clones and trials that cannot be selected."""
    count = draw(st.integers(0, 12))
    return [
        Contender(
            trial=f"t{number}",
            tickers=(draw(st.sampled_from(["AAPL", "MSFT"])),),
            configuration={},
            fingerprint=draw(st.sampled_from("abc")),
            metric=draw(st.none() | st.sampled_from([0.0, 1.0, 2.0, float("nan")])),
            eligible=draw(st.booleans()),
            predictions=draw(st.none() | st.tuples(st.sampled_from(list(VIEWS)))),
        )
        for number in range(count)
    ]


@given(contenders(), st.permutations(range(12)), st.integers(1, 4), st.sampled_from(["max", "min"]))
def test_the_order_in_which_trials_ended_does_not_count(
    trials: list[Contender], order: list[int], top_n: int, mode: str
) -> None:
    shuffled = [trials[place] for place in order if place < len(trials)]
    one, other = select(trials, top_n=top_n, mode=mode), select(shuffled, top_n=top_n, mode=mode)  # type: ignore[arg-type]
    assert [(each.contender.trial, each.rank) for each in one.kept] == [
        (each.contender.trial, each.rank) for each in other.kept
    ]
    assert one.passed_over == other.passed_over
    assert one.effective_votes == other.effective_votes


@given(contenders(), st.integers(1, 4))
def test_survivors_are_sound_few_ranked_and_no_clones(trials: list[Contender], top_n: int) -> None:
    selection = select(trials, top_n=top_n)
    kept = selection.kept
    for ticker in ("AAPL", "MSFT"):
        own = [each for each in kept if each.contender.tickers == (ticker,)]
        assert len(own) <= top_n
        assert [each.rank for each in own] == list(range(1, len(own) + 1))
        metrics = [each.contender.metric for each in own]
        assert all(metric is not None and np.isfinite(metric) for metric in metrics)
        assert metrics == sorted(metrics, reverse=True)  # type: ignore[type-var]
        views = [id(view) for each in own for view in each.contender.predictions or ()]
        assert len(set(views)) == len(views)
        assert all(each.contender.eligible for each in own)
        assert (ticker in selection.effective_votes) == bool(own)
        assert not own or 1 - 1e-9 <= selection.effective_votes[ticker] <= len(own) + 1e-9

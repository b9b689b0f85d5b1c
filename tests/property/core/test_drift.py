import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.drift import Watch, profile_of

NAMES = ("a", "b", "c")
PROFILE = profile_of(np.random.default_rng(1).normal(size=(800, 3)), NAMES, 60)


@given(
    cuts=st.lists(st.integers(0, 200), max_size=6),
    shift=st.sampled_from([0.0, 1.5]),
    unknown=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_however_bars_are_cut_into_batches_the_windows_are_the_same(
    cuts: list[int], shift: float, unknown: float, seed: int
) -> None:
    assert PROFILE is not None
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 3)) + shift
    rows[rng.random(rows.shape) < unknown] = np.nan
    times = np.datetime64("2024-01-01", "us") + np.sort(rng.choice(10_000, 200, replace=False))
    whole, windows = PROFILE.watch(Watch(), times, rows)
    watch, found = Watch(), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 200], strict=True):
        watch, more = PROFILE.watch(watch, times[start:stop], rows[start:stop])
        found += more
    assert (watch, found) == (whole, windows)
    assert len(windows) == 200 // PROFILE.window
    assert all(0.0 <= each.outliers <= 1.0 and min(each.psi) >= 0.0 for each in windows)

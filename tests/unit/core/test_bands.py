import numpy as np
import pytest
from scipy.special import ndtri

from orchestrator.core.arrays import Floats
from orchestrator.core.bands import Band, deviations, hit_band, long_run, out_of_fold_band
from schemas.experiments import GateVerdict

NOISE = np.random.default_rng(5).normal(size=4000)


def verdict(sharpe: float | None = 2.0, benchmark: float = 0.03) -> GateVerdict:
    return GateVerdict(
        passed=True,
        deflated_sharpe=0.99,
        active_deflated_sharpe=0.99,
        trials=20,
        benchmark_sharpe=benchmark,
        sharpe_ratio=sharpe,
        sessions=1260,
        required=0.95,
    )


def band(profit: Floats, known: GateVerdict | None = None, confidence: float = 0.99) -> Band:
    found = out_of_fold_band(profit, known or verdict(), sessions=60, confidence=confidence, sessions_per_year=252)
    assert found is not None
    return found


def test_the_long_run_variance_is_the_own_one_and_more_where_values_go_on() -> None:
    assert long_run(NOISE) == pytest.approx(np.var(NOISE, ddof=1), rel=0.05)
    lasting = NOISE[1:] + NOISE[:-1]
    assert long_run(lasting) == pytest.approx(4.0, rel=0.15)
    # What takes away from it is not trusted.
    assert long_run(np.diff(NOISE)) == pytest.approx(np.var(np.diff(NOISE), ddof=1))


def test_one_as_good_as_expected_is_in_its_band_and_one_that_bleeds_below() -> None:
    good = band(NOISE[:60] - NOISE[:60].mean() + 0.1)
    assert good.low < good.figure < good.high
    assert (good.low + good.high) / 2 == pytest.approx(2.0 - 0.03 * 252**0.5)
    bleeding = band(NOISE[:60] - NOISE[:60].mean() - 0.6)
    assert bleeding.figure < bleeding.low


def test_luck_is_taken_off_what_is_expected_but_not_more_than_there_is() -> None:
    noise = NOISE[:60]
    lucky = band(noise, verdict(0.5, benchmark=0.2))
    assert (lucky.low + lucky.high) / 2 == pytest.approx(0.0)
    assert band(noise, confidence=0.9).low > band(noise, confidence=0.999).low


@pytest.mark.parametrize(
    ("profit", "known"), [(NOISE[:59], verdict()), (np.zeros(60), verdict()), (NOISE[:60], verdict(None))]
)
def test_there_is_no_band_of_too_few_sessions_without_variance_or_without_a_record(
    profit: Floats, known: GateVerdict
) -> None:
    assert out_of_fold_band(profit, known, sessions=60, confidence=0.99, sessions_per_year=252) is None


def test_a_moving_mean_needs_more_room_the_longer_it_moves() -> None:
    assert deviations(0.99, 0.0) == pytest.approx(-ndtri(0.01))
    assert deviations(0.99, 4.2) == pytest.approx(3.56, abs=0.02)
    # Of 252 looks at 60 sessions each, over many years without skill, as many go below as are meant to.
    year, reach = 252, deviations(0.9, 252 / 60)
    sums = np.cumsum(np.random.default_rng(2).normal(size=(2000, year + 60)), axis=1)
    lowest = ((sums[:, 60:] - sums[:, :-60]) / 60**0.5).min(axis=1)
    assert 0.05 < np.mean(lowest < -reach) <= 0.11


def test_hits_have_wilsons_interval() -> None:
    found = hit_band(55, 100)
    assert found is not None
    assert (found.figure, round(found.low, 4), round(found.high, 4)) == (0.55, 0.4524, 0.6439)
    assert hit_band(0, 0) is None

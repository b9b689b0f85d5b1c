from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.core.arrays import Floats
from serving.calibration import (
    COIN,
    LEAST_CONFIDENCE,
    MOST_KNOTS,
    TickerCalibration,
    calibrate_member,
    fit_reliability,
)

Record = tuple[Floats, Floats]


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Strengths or predictions (n,) and what came true (n,), with gaps and ties."""
    rows = draw(st.integers(1, 120))
    gaps = st.just(float("nan"))
    strength = draw(arrays(np.float64, rows, elements=st.floats(-1, 1, width=16) | gaps))
    return strength, draw(arrays(np.float64, rows, elements=st.floats(-1, 1, width=16) | gaps))


@given(records())
def test_the_chance_of_the_right_sign_never_falls_with_strength(record: Record) -> None:
    reliability = fit_reliability(*record)
    if reliability is None:
        return
    assert len(reliability.strength) <= MOST_KNOTS
    assert (np.diff(reliability.strength) > 0).all()
    chance = reliability.at(np.linspace(-1, 0, 50))
    assert (np.diff(chance) <= 0).all()
    assert ((chance >= LEAST_CONFIDENCE) & (chance <= 1)).all()
    assert np.array_equal(chance, reliability.at(np.linspace(1, 0, 50)))


@given(records(), st.randoms())
def test_the_chance_does_not_depend_on_the_order_of_the_record(record: Record, random: Random) -> None:
    order = list(range(len(record[0])))
    random.shuffle(order)
    one, other = fit_reliability(*record), fit_reliability(record[0][order], record[1][order])
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert other.at(np.linspace(0, 1, 9)) == pytest.approx(one.at(np.linspace(0, 1, 9)))


@given(records())
def test_a_record_and_its_mirror_image_are_equally_reliable(record: Record) -> None:
    one, other = fit_reliability(*record), fit_reliability(-record[0], -record[1])
    assert (one or COIN).at(np.linspace(0, 1, 9)).tolist() == (other or COIN).at(np.linspace(0, 1, 9)).tolist()


def test_always_right_is_certain_and_always_wrong_is_not_without_a_voice() -> None:
    strength = np.linspace(0.1, 1, 60)
    right, wrong = fit_reliability(strength, strength), fit_reliability(strength, -strength)
    assert right is not None
    assert right.at(strength).tolist() == [1.0] * 60
    assert wrong is not None
    assert wrong.at(strength).tolist() == [LEAST_CONFIDENCE] * 60


def test_no_known_outcome_teaches_nothing() -> None:
    assert fit_reliability(np.array([0.5, 0.0]), np.array([np.nan, 1.0])) is None


@given(st.integers(0, 2**32 - 1))
def test_any_other_figure_gives_another_calibration_id(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = rng.normal(size=(2, 60))
    calibration = TickerCalibration((calibrate_member(prediction, target),), np.sort(prediction), COIN)
    same = TickerCalibration((calibrate_member(prediction, target),), np.sort(prediction), COIN)
    assert same.calibration_id == calibration.calibration_id
    others = {
        replace(calibration, reference=None).calibration_id,
        replace(calibration, reference=calibration.members[0].reference).calibration_id,
        replace(calibration, reliability=calibration.members[0].reliability).calibration_id,
        replace(calibration, members=(calibrate_member(2 * prediction, target),)).calibration_id,
        replace(calibration, members=calibration.members * 2).calibration_id,
    }
    assert len(others | {calibration.calibration_id}) == 6

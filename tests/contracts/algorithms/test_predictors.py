"""What every family's models must keep to."""

import os
import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from orchestrator.algorithms.base import MalformedModel, Predictor, Trainer
from orchestrator.core.arrays import Floats
from tests.contracts.algorithms.families import NAMES, Family, fit, rows

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(family: Family, trainer: Trainer) -> tuple[Predictor, ...]:
    return fit(trainer, family.good)


@pytest.fixture
def unseen() -> Floats:
    return rows(97, seed=2)[0]


def test_a_dumped_predictor_is_loaded_to_the_last_bit(
    trainer: Trainer, trained: tuple[Predictor, ...], unseen: Floats
) -> None:
    for predictor in trained:
        loaded = trainer.load(predictor.dump())
        assert loaded.feature_names == predictor.feature_names == NAMES
        assert loaded.predict(unseen).tobytes() == predictor.predict(unseen).tobytes()
        assert loaded.dump() == predictor.dump()


def test_a_predictor_travels_between_processes(trained: tuple[Predictor, ...], unseen: Floats) -> None:
    for predictor in trained:
        arrived: Predictor = pickle.loads(pickle.dumps(predictor))
        assert arrived.dump() == predictor.dump()
        assert arrived.predict(unseen).tobytes() == predictor.predict(unseen).tobytes()


def test_a_row_is_predicted_to_the_same_bit_whatever_shares_its_batch(
    trained: tuple[Predictor, ...], unseen: Floats
) -> None:
    for predictor in trained:
        whole = predictor.predict(unseen)
        assert whole.dtype == np.float64
        assert predictor.predict(np.asfortranarray(unseen)).tobytes() == whole.tobytes()
        assert predictor.predict(unseen[::-1])[::-1].tobytes() == whole.tobytes()
        for size in (1, 2, 3, 7, 64):
            parts = [predictor.predict(unseen[begin : begin + size]) for begin in range(0, len(unseen), size)]
            assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_row_that_is_not_finite_has_no_prediction_and_changes_no_other(
    trained: tuple[Predictor, ...], unseen: Floats
) -> None:
    spoiled = unseen.copy()
    for row, value in ((3, np.nan), (50, np.inf), (96, -np.inf)):
        spoiled[row, row % len(NAMES)] = value
    for predictor in trained:
        expected = predictor.predict(unseen)
        expected[[3, 50, 96]] = np.nan
        assert predictor.predict(spoiled).tobytes() == expected.tobytes()
        assert np.isnan(predictor.predict(np.full((2, len(NAMES)), np.nan))).all()
        assert predictor.predict(unseen[:0]).shape == (0,)


def test_the_largest_numbers_are_answered_without_a_warning(trained: tuple[Predictor, ...]) -> None:
    extreme = np.array([[1e308, -1e308, 1e308, 1.0], [1e30, 1e-300, -1e30, 0.0]])
    for predictor in trained:
        assert not np.isinf(predictor.predict(extreme)).any()


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 5)])
def test_rows_of_another_width_are_an_error(trained: tuple[Predictor, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(n, 4\)"):
        trained[0].predict(np.zeros(shape))


def test_predictions_of_many_are_those_of_each(
    trainer: Trainer, trained: tuple[Predictor, ...], unseen: Floats
) -> None:
    unseen[5, 1] = np.nan
    found = trainer.predictions(trained, unseen)
    assert found.shape == (len(trained), len(unseen))
    for row, predictor in zip(found, trained, strict=True):
        np.testing.assert_allclose(row, predictor.predict(unseen), rtol=1e-9, atol=1e-15)
    assert trainer.predictions([], unseen).shape == (0, len(unseen))


def test_a_damaged_model_is_refused(trainer: Trainer, trained: tuple[Predictor, ...]) -> None:
    dumped = trained[0].dump()
    places = np.linspace(0, len(dumped) - 1, 40).astype(int).tolist()
    for damaged in (
        *(dumped[:place] for place in places),
        *(dumped[:place] + bytes([dumped[place] ^ 1]) + dumped[place + 1 :] for place in places if sealed(dumped)),
    ):
        with pytest.raises(MalformedModel) as refusal:
            trainer.load(damaged)
        assert {reason.code for reason in refusal.value.reasons} == {"malformed_model"}


def test_a_model_of_another_family_is_refused(trainer: Trainer, trained: tuple[Predictor, ...]) -> None:
    dumped = trained[0].dump()
    renamed = dumped.replace(trainer.name.encode(), b"another")
    if sealed(dumped):
        _, _, rest = renamed.partition(b"\n")
        renamed = sha256(rest).hexdigest().encode() + b"\n" + rest
    with pytest.raises(MalformedModel, match="algorithm"):
        trainer.load(renamed)


def sealed(dumped: bytes) -> bool:
    """Whether it begins with the digest of what follows."""
    digest, _, rest = dumped.partition(b"\n")
    return sha256(rest).hexdigest().encode() == digest


class Touch:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self._mark),))


def test_nothing_is_run_that_was_pickled(trainer: Trainer, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(MalformedModel):
            trainer.load(pickle.dumps(Touch(mark), protocol))
    assert not mark.exists()

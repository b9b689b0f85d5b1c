"""What needs no JAX: how features become sequences, weights of other sizes, products, and what is said without it."""

import math
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from orchestrator.algorithms import recurrent
from orchestrator.algorithms.base import MissingExtra
from orchestrator.algorithms.lstm import LSTMTrainer
from orchestrator.algorithms.recurrent import forward, fresh, grafted, layout, row_by_row, sequence


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b"), [["a", "b"]]),
        (("a", "a.lag1", "a.lag2"), [["a.lag2"], ["a.lag1"], ["a"]]),
        (("a.lag2", "b.lag1", "a", "b", "b.lag2", "a.lag1"), [["a.lag2", "b.lag2"], ["a.lag1", "b.lag1"], ["a", "b"]]),
        (("a", "a.lag5", "b"), [["a.lag5", "b"], ["a", "b"]]),
        (("a", "a.lag1", "a.lag3", "b", "b.lag2"), [
            ["a.lag3", "b.lag2"], ["a.lag1", "b.lag2"], ["a.lag1", "b"], ["a", "b"],
        ]),
        (("a.lag1", "b", "b.lag1"), [["a.lag1", "b.lag1"], ["a.lag1", "b"]]),
        (("a.lag0", "a.lag01", "a.lags1"), [["a.lag0", "a.lag01", "a.lags1"]]),
    ],
)  # fmt: skip
def test_lags_are_earlier_steps(names: tuple[str, ...], expected: list[list[str]]) -> None:
    assert [[names[column] for column in step] for step in sequence(names)] == expected


def test_one_unit_by_hand() -> None:
    weights = {
        "inputs": np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32),
        "recurrent": np.array([[-0.5, 0.25, 0.75, 1.0]], dtype=np.float32),
        "bias": np.array([0.0, 1.0, -0.1, 0.2], dtype=np.float32),
        "head": np.array([[2.0]], dtype=np.float32),
        "offset": np.array([0.5], dtype=np.float32),
    }

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    hidden = memory = 0.0
    for seen in (1.5, -2.0):
        enter, keep, candidate, out = (
            float(weights["inputs"][0, gate]) * seen
            + float(weights["recurrent"][0, gate]) * hidden
            + float(weights["bias"][gate])
            for gate in range(4)
        )
        memory = sigmoid(keep) * memory + sigmoid(enter) * np.tanh(candidate)
        hidden = sigmoid(out) * np.tanh(memory)
    found = forward(weights, np.array([[[1.5], [-2.0]]]), np.matmul)
    np.testing.assert_allclose(found, [2.0 * hidden + 0.5], rtol=1e-12)


def test_fresh_weights_are_those_of_the_seed_and_remember() -> None:
    one, same, other = (fresh(3, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert {name: values.shape for name, values in one.items()} == {
        name: shape for name, (_, shape) in layout(3, 5).items()
    }
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert not np.array_equal(one["inputs"], other["inputs"])
    assert (one["bias"].reshape(5, 4)[:, 1] > 0.5).all()


def test_more_units_begin_with_the_old_ones_and_fewer_are_the_first_of_them() -> None:
    small, large = (fresh(2, hidden, np.random.default_rng(hidden)) for hidden in (3, 5))
    wider = grafted(small, large)
    for name in ("inputs", "recurrent", "bias", "head"):
        assert wider[name].shape == large[name].shape
    np.testing.assert_array_equal(wider["recurrent"][:3].reshape(3, 5, 4)[:, :3], small["recurrent"].reshape(3, 3, 4))
    np.testing.assert_array_equal(wider["recurrent"][3:], large["recurrent"][3:])
    np.testing.assert_array_equal(wider["inputs"].reshape(2, 5, 4)[:, 3:], large["inputs"].reshape(2, 5, 4)[:, 3:])
    narrower = grafted(wider, small)
    for name, values in small.items():
        np.testing.assert_array_equal(narrower[name], values)
        assert not np.shares_memory(narrower[name], values)


def test_a_row_is_multiplied_by_itself() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(33, 21)), rng.normal(size=(21, 17))
    whole = row_by_row(left, right)
    np.testing.assert_allclose(whole, left @ right, rtol=1e-12)
    for row in range(33):
        assert row_by_row(left[row : row + 1], right).tobytes() == whole[row : row + 1].tobytes()


def test_without_its_libraries_the_family_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "jax" else ModuleSpec(name, None)

    monkeypatch.setattr(recurrent, "find_spec", find)
    (reason,) = LSTMTrainer().refuse({})
    assert (reason.code, reason.where) == ("missing_extra", "jax")
    assert "install ray-orchestrator[lstm]" in reason.message
    with pytest.raises(MissingExtra) as refusal:
        LSTMTrainer().prepare(np.zeros((3, 1)), np.zeros(3), ("a",), seed=0, threads=1)
    assert refusal.value.reasons == (reason,)

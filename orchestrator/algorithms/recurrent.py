"""A network with long short-term memory (Hochreiter and Schmidhuber, 1997): its arithmetic, and its training in JAX.

Predictions need NumPy alone.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import MissingExtra
from orchestrator.algorithms.sealed import Layout
from orchestrator.core.arrays import Floats, Integers
from schemas.base import Reason

LIBRARIES = ("jax", "optax")
"""That train, and come with the extra `lstm`."""
BATCH = 128
"""Rows of one step of descent."""
STEEPEST = 1.0
"""Longer gradients are cut to this length."""
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
_LAGGED = re.compile(r"(?P<series>.+)\.lag(?P<lag>[1-9][0-9]*)")

Weights = Mapping[str, NDArray[np.float32]]
"""`inputs` (s, 4h), `recurrent` (h, 4h) and `bias` (4h,): unit after unit, of each the gates in, forget, candidate,
out; `head` (h, 1) and `offset` (1,)."""
Product = Callable[[Any, Any], Any]
"""A matrix product."""


def sequence(feature_names: Sequence[str]) -> Integers:
    """(steps, s) the columns that the network sees of s series, step after step, the oldest first.

    A feature `x.lag3` is what `x` was three bars before; without `.lag` it is now. There is a step for each lag that
    any feature has. Where a series lacks a step's lag, its next smaller one takes the place, so that its oldest value
    is repeated backwards; where it has no smaller one, its smallest does. Without lags there is one step.
    """
    columns: dict[str, dict[int, int]] = {}
    for column, name in enumerate(feature_names):
        found = _LAGGED.fullmatch(name)
        series, lag = (found["series"], int(found["lag"])) if found else (name, 0)
        columns.setdefault(series, {})[lag] = column
    lags = sorted({lag for by_lag in columns.values() for lag in by_lag}, reverse=True)
    return np.array(
        [
            [by_lag[max((own for own in by_lag if own <= lag), default=min(by_lag))] for by_lag in columns.values()]
            for lag in lags
        ],
        dtype=np.int64,
    )


def layout(series: int, hidden: int) -> Layout:
    """The arrays of a network with so many hidden units, for so many series."""
    return {
        "inputs": ("<f4", (series, 4 * hidden)),
        "recurrent": ("<f4", (hidden, 4 * hidden)),
        "bias": ("<f4", (4 * hidden,)),
        "head": ("<f4", (hidden, 1)),
        "offset": ("<f4", (1,)),
    }


def fresh(series: int, hidden: int, rng: np.random.Generator) -> Weights:
    """Weights to begin with: evenly random within 1 / sqrt(hidden), open to remember."""
    bound = 1.0 / np.sqrt(hidden)
    weights = {
        name: rng.uniform(-bound, bound, shape).astype(np.float32)
        for name, (_, shape) in layout(series, hidden).items()
    }
    weights["bias"][1::4] += 1.0
    weights["offset"][:] = 0.0
    return weights


def grafted(weights: Weights, onto: Weights) -> Weights:
    """Weights as far as these have room for them: of more units the first ones, fewer beside those that are here."""
    both = {name: values.copy() for name, values in onto.items()}
    for name, values in both.items():
        shared = tuple(slice(min(sizes)) for sizes in zip(values.shape, weights[name].shape, strict=True))
        values[shared] = weights[name][shared]
    return both


def step(
    weights: Mapping[str, Any], hidden: Any, memory: Any, seen: Any, product: Product, tanh: Any
) -> tuple[Any, Any]:
    """The hidden units and the memory (n, h) after one more step of n rows; seen: (n, s)."""
    gates = product(seen, weights["inputs"]) + product(hidden, weights["recurrent"]) + weights["bias"]
    enter, keep, candidate, out = (gates.reshape(gates.shape[0], -1, 4)[..., gate] for gate in range(4))
    memory = _sigmoid(keep, tanh) * memory + _sigmoid(enter, tanh) * tanh(candidate)
    return _sigmoid(out, tanh) * tanh(memory), memory


def forward(weights: Weights, seen: Floats, product: Product) -> Floats:
    """(n,) answers to sequences (n, steps, s), in double precision."""
    exact = {name: values.astype(np.float64) for name, values in weights.items()}
    hidden = memory = np.zeros((len(seen), len(exact["head"])))
    for number in range(seen.shape[1]):
        hidden, memory = step(exact, hidden, memory, seen[:, number], product, np.tanh)
    return np.asarray(product(hidden, exact["head"])[:, 0] + exact["offset"])


def row_by_row(left: Floats, right: Floats) -> Floats:
    """The product of (n, k) and (k, m), each row multiplied by itself: its bits do not depend on the rows beside it."""
    return np.asarray(np.matmul(left[:, None, :], right)[:, 0])


def descend(
    weights: Weights,
    seen: Floats,
    wanted: Floats,
    epochs: range,
    *,
    seed: int,
    learning_rate: float,
    dropout: float,
    weight_decay: float,
) -> Weights:
    """Train by Adam with decoupled weight decay (Loshchilov and Hutter, 2019) on the mean squared error.

    The last step of an epoch repeats rows that do not count, so that all steps share one compilation.

    Args:
        weights: to begin with.
        seen: (n, steps, s) sequences.
        wanted: (n,) answers.
        epochs: numbers of the epochs to train: an epoch's order and dropout depend on the seed and its number.
        seed: of order and dropout.
        learning_rate: of a step.
        dropout: share of the hidden units that the answer does without, in training.
        weight_decay: as a share of the learning rate.

    Raises:
        MissingExtra: JAX or Optax are not installed.
    """
    jax, optax = libraries()
    descent = _compiled()
    rows, answers = seen.astype(np.float32), wanted.astype(np.float32)
    trained: Any = dict(weights)
    state = _optimiser(optax, learning_rate, weight_decay).init(trained)
    for epoch in epochs:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(rows))
        for begin in range(0, len(rows), BATCH):
            chosen = order[begin : begin + BATCH]
            known = np.arange(BATCH) < len(chosen)
            chosen = np.resize(chosen, BATCH)
            kept = (rng.random((BATCH, len(weights["head"])), dtype=np.float32) >= dropout) / np.float32(1.0 - dropout)
            trained, state = descent(
                trained, state, rows[chosen], answers[chosen], known, kept, learning_rate, weight_decay
            )
    return {name: np.asarray(values) for name, values in jax.device_get(trained).items()}


def missing() -> tuple[Reason, ...]:
    """The libraries that training lacks; asking does not import them."""
    message = "The algorithm lstm is trained by JAX and Optax; install ray-orchestrator[lstm]."
    return tuple(
        Reason(code="missing_extra", where=name, message=message) for name in LIBRARIES if find_spec(name) is None
    )


def libraries() -> tuple[Any, Any]:
    """JAX and Optax, imported on the first call: on one thread, since these networks are too small for more.

    Raises:
        MissingExtra: they are not installed.
    """
    if reasons := missing():
        raise MissingExtra(reasons)
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)
    jax, optax = (import_module(name) for name in LIBRARIES)
    return jax, optax


def _sigmoid(values: Any, tanh: Any) -> Any:
    return 0.5 * tanh(0.5 * values) + 0.5


def _optimiser(optax: Any, learning_rate: Any, weight_decay: Any) -> Any:
    return optax.chain(optax.clip_by_global_norm(STEEPEST), optax.adamw(learning_rate, weight_decay=weight_decay))


@cache
def _compiled() -> Any:
    """One step of descent, compiled once for each shape of the network, however many rows there are."""
    jax, optax = libraries()
    numpy = jax.numpy

    def loss(weights: Any, seen: Any, wanted: Any, known: Any, kept: Any) -> Any:
        def advance(carried: Any, now: Any) -> Any:
            hidden, memory = carried
            return step(weights, hidden, memory, now, numpy.matmul, numpy.tanh), None

        nothing = numpy.zeros(kept.shape, seen.dtype)
        (hidden, _), _ = jax.lax.scan(advance, (nothing, nothing), numpy.swapaxes(seen, 0, 1))
        missed = (hidden * kept) @ weights["head"][:, 0] + weights["offset"] - wanted
        return numpy.sum(known * missed**2) / numpy.sum(known)

    def descent(weights: Any, state: Any, seen: Any, wanted: Any, known: Any, kept: Any, rate: Any, decay: Any) -> Any:
        slope = jax.grad(loss)(weights, seen, wanted, known, kept)
        change, state = _optimiser(optax, rate, decay).update(slope, state, weights)
        return optax.apply_updates(weights, change), state

    return jax.jit(descent)

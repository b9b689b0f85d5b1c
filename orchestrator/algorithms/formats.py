"""Models in formats that others write, too: what they are, and reading them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.algorithms.base import MalformedModel, Predictor, trainer
from orchestrator.algorithms.training import Rows, answer
from orchestrator.core.arrays import Floats
from orchestrator.core.models import Format
from schemas.base import Reason

_SEALED = re.compile(rb'[0-9a-f]{64}\n|\{"algorithm"')
_LARGEST = float(np.finfo(np.float32).max)
_BLOCK = 16


class UnusableModel(MalformedModel):
    """The model can be read, but does not predict as a member of an ensemble must."""


@dataclass(frozen=True, eq=False)
class ForeignPredictor:
    """A model that was trained elsewhere; `content` is its file, `function` predicts (n,) of finite rows (n, f)."""

    feature_names: tuple[str, ...]
    content: bytes
    function: Callable[[Rows], Any]

    def predict(self, features: Floats) -> Floats:
        """Predicted return of each row of `features` (n, f); (n,), NaN for a row in which a feature is not finite.

        What single precision cannot hold is not finite here: trees read it so, and scikit-learn's raise.

        Raises:
            ValueError: `features` has another number of columns.
            UnusableModel: it answers with something else than a number a row.
        """
        held = np.where(np.abs(features) <= _LARGEST, features, np.nan)
        return answer(held, len(self.feature_names), self._predict)

    def _predict(self, rows: Rows) -> Floats:
        # In whole blocks: linear algebra adds up the last rows of a matrix in another order.
        padded = np.concatenate([rows, np.zeros((-len(rows) % _BLOCK, rows.shape[1]))])
        found = np.asarray(self.function(padded), dtype=np.float64)
        if found.shape != (len(padded),):
            shape = "x".join(map(str, found.shape)) or "one number"
            message = f"for {len(padded)} rows it predicts {shape}: train it on one target, given as a vector"
            raise UnusableModel([Reason(code="wrong_shape", message=message)])
        return found[: len(rows)]

    def dump(self) -> bytes:
        """The file as it came."""
        return self.content


def format_of(content: bytes) -> Format:
    """What a file seems to be; reading it tells."""
    if _SEALED.match(content):
        return "sealed"
    if content.startswith(b"tree\n"):
        return "lightgbm"
    return "xgboost" if content.startswith(b"{") else "joblib"


def read_model(kind: Format, content: bytes, algorithm: str, feature_names: Sequence[str] | None) -> Predictor:
    """The model in a file.

    Args:
        kind: its format.
        content: the file.
        algorithm: what it was trained by; that of a sealed predictor must be installed.
        feature_names: in the order in which it takes them; None: the file says so.

    Raises:
        MalformedModel, UnsafePickle: the file is something else, cut off, or would run code; of an XGBoost or LightGBM
            file, what those libraries say.
        UnusableModel: it takes other features.
        UnknownAlgorithm, MissingExtra: a sealed predictor's algorithm is not installed.
    """
    if kind == "sealed":
        sealed = trainer(algorithm).load(content)
        _named(feature_names, sealed.feature_names, len(sealed.feature_names))
        return sealed
    names, width, function = _READERS[kind](content)
    return ForeignPredictor(_named(feature_names, names, width), content, function)


def probe(predictor: Predictor) -> None:
    """Have a model predict a few made-up rows.

    Raises:
        UnusableModel: what it predicts is not finite, no number a row, or depends on the rows beside it.
    """
    width = len(predictor.feature_names)
    rows = np.concatenate([np.zeros((1, width)), np.ones((1, width)), np.sin(np.arange(6 * width)).reshape(6, width)])
    try:
        together = predictor.predict(rows)
        alone = np.concatenate([predictor.predict(rows[place : place + 1]) for place in range(len(rows))])
    except MalformedModel:
        raise
    except Exception as error:
        message = f"it fails on rows of {width} features: {type(error).__name__}: {error}"
        raise UnusableModel([Reason(code="cannot_predict", message=message[:4096])]) from error
    if not np.isfinite(together).all():
        message = f"of finite rows it predicts {together.tolist()}: train it anew"
        raise UnusableModel([Reason(code="not_finite", message=message)])
    if not np.allclose(together, alone, rtol=1e-9, atol=1e-15):
        message = "what it predicts of a row depends on the rows beside it: ticks come in batches of any size"
        raise UnusableModel([Reason(code="depends_on_batch", message=message)])


_Read = tuple[tuple[str, ...] | None, int, Callable[[Rows], Any]]


def _xgboost(content: bytes) -> _Read:
    import xgboost

    # It takes other formats, too, and aborts on an empty file.
    if not content.startswith(b"{"):
        raise _malformed("it is neither UBJ nor JSON: save it with save_model('model.ubj')")
    try:
        booster = xgboost.Booster(model_file=bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise _malformed(f"XGBoost does not read it: {error}") from error
    booster.set_param({"nthread": 1, "verbosity": 0})
    names = None if booster.feature_names is None else tuple(booster.feature_names)

    def predict(rows: Rows) -> Any:
        return booster.inplace_predict(rows, validate_features=False)

    return names, int(booster.num_features()), predict


def _lightgbm(content: bytes) -> _Read:
    import lightgbm

    try:
        booster = lightgbm.Booster(model_str=content.decode("utf-8"))
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise _malformed(f"LightGBM does not read it: {error}") from error
    return (*_of_lightgbm(booster), lambda rows: booster.predict(rows, num_threads=1))


def _of_lightgbm(booster: Any) -> tuple[tuple[str, ...] | None, int]:
    names = tuple(booster.feature_name())
    unnamed = names == tuple(f"Column_{number}" for number in range(len(names)))
    return None if unnamed else names, len(names)


def _joblib(content: bytes) -> _Read:
    from orchestrator.algorithms.pickles import read_estimator, without_names

    estimator = read_estimator(content)
    if (booster := getattr(estimator, "booster_", None)) is not None:
        return (*_of_lightgbm(booster), lambda rows: booster.predict(rows, num_threads=1))
    width = getattr(estimator, "n_features_in_", None)
    if not isinstance(width, int | np.integer):
        raise _malformed(f"{type(estimator).__name__} is not fitted: fit it, then dump it")
    return without_names(estimator), int(width), estimator.predict


_READERS: dict[Format, Callable[[bytes], _Read]] = {"xgboost": _xgboost, "lightgbm": _lightgbm, "joblib": _joblib}


def _named(declared: Sequence[str] | None, own: tuple[str, ...] | None, width: int) -> tuple[str, ...]:
    """The features that a model takes, in order."""
    names = own if declared is None else tuple(declared)
    if names is None:
        message = f"the file does not say which {width} features it takes: name them, in order"
        raise UnusableModel([Reason(code="features_unknown", where="feature", message=message)])
    if own is not None and names != own:
        message = f"it takes {', '.join(own)}: name these, in this order, or leave them out"
        raise UnusableModel([Reason(code="features_differ", where="feature", message=message[:4096])])
    if len(names) != width or len(set(names)) != width:
        message = f"it takes {width} features, and {len(set(names))} different ones are named"
        raise UnusableModel([Reason(code="features_differ", where="feature", message=message)])
    return names


def _malformed(message: str) -> MalformedModel:
    return MalformedModel([Reason(code="malformed_model", message=message[:4096])])

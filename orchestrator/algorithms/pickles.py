"""Reading joblib files and pickles of estimators without running what they may carry.

A pickle is a program: it names importable things and calls them. Here it gets what is listed below and nothing else;
whatever else it names is refused before it is imported. joblib's own reader is not used: arrays inside a joblib file
may hold pickles again, which this one reads under the same rules.
"""

import bz2
import io
import lzma
import pickle
import re
import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from math import prod
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from orchestrator.algorithms.base import MalformedModel, quoted
from schemas.base import Reason

LARGEST = 2**30
"""Bytes of a file once it is unpacked; a small one may hold as many as it likes."""

_ESTIMATORS = re.compile(
    r"sklearn\.(compose|cross_decomposition|decomposition|dummy|ensemble|feature_selection|gaussian_process|impute|isotonic"
    r"|kernel_approximation|kernel_ridge|linear_model|neighbors|neural_network|pipeline|preprocessing|random_projection"
    r"|svm|tree)(\._[a-z_]+)*(\.gradient_boosting)?"
)
"""Modules whose estimators are taken: to make one sets its parameters, and runs nothing else."""
_CLASSES = frozenset(
    {
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("lightgbm.basic", "Booster"),
        ("lightgbm.sklearn", "LGBMRegressor"),
        ("sklearn._loss.link", "IdentityLink"),
        ("sklearn._loss.link", "Interval"),
        ("sklearn._loss.link", "LogLink"),
        ("sklearn._loss.loss", "AbsoluteError"),
        ("sklearn._loss.loss", "HalfSquaredError"),
        ("sklearn._loss.loss", "HuberLoss"),
        ("sklearn._loss.loss", "PinballLoss"),
        ("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
        ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
        ("sklearn.tree._tree", "Tree"),
        ("sklearn.utils._bunch", "Bunch"),
        ("xgboost.core", "Booster"),
        ("xgboost.sklearn", "XGBRegressor"),
    }
)
_ONLY_IN_TRAINING = re.compile(
    r"numpy\.random\..+|sklearn\._loss\._loss|sklearn\.neural_network\._stochastic_optimizers"
)
"""Random generators, gradients, optimisers: predicting needs none, so that they are not made at all."""
_DTYPE = re.compile(r"[<>|=]?[biufcSUVO][0-9]*")
_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
_Unpickler: Any = pickle._Unpickler
_UNPACKING: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x78", lambda: zlib.decompressobj(47)),
    (b"\x1f\x8b", lambda: zlib.decompressobj(47)),
    (b"BZ", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
    (b"\x5d\x00", lzma.LZMADecompressor),
)


class UnsafePickle(MalformedModel):
    """The file names something that may run code when it is loaded, or is made up so that it might; it was not run."""


def read_estimator(content: bytes) -> Any:
    """The estimator in a joblib file or a pickle, compressed or not.

    Raises:
        UnsafePickle: it names something that is not listed here (`unsafe_pickle`), or does what no estimator does.
        MalformedModel: it is cut off or something else, too large when unpacked, or holds no estimator.
    """
    reader = _Reader(io.BytesIO(_unpacked(content)), [])
    try:
        estimator = reader.load()
    except MalformedModel:
        raise
    except Exception as error:
        raise _malformed(f"it cannot be read: {type(error).__name__}: {error}") from error
    if not callable(getattr(estimator, "predict", None)):
        raise _malformed(f"it holds a {type(estimator).__name__}, which cannot predict: dump the estimator itself")
    for each in _parts(estimator, set()):
        # To wake other threads takes longer than a batch of ticks.
        if "n_jobs" in vars(each):
            each.n_jobs = 1
    return estimator


def without_names(estimator: Any) -> tuple[str, ...] | None:
    """The features that an estimator was trained on by name, which it forgets: here columns come in their order."""
    names = getattr(estimator, "feature_names_in_", None)
    for each in _parts(estimator, set()):
        vars(each).pop("feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def _parts(value: Any, seen: set[int]) -> list[Any]:
    """Every estimator inside one, itself too."""
    from sklearn.base import BaseEstimator

    if id(value) in seen:
        return []
    seen.add(id(value))
    match value:
        case BaseEstimator():
            return [value, *(part for each in vars(value).values() for part in _parts(each, seen))]
        case dict():
            return [part for each in value.values() for part in _parts(each, seen)]
        case list() | tuple():
            return [part for each in value for part in _parts(each, seen)]
        case np.ndarray() if value.dtype == np.dtype("O"):
            return [part for each in value.ravel() for part in _parts(each, seen)]
    return []


class _Unused:
    """Stands for what only training needs."""

    def __new__(cls, *_: Any) -> "_Unused":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


class _Array:
    """Stands for `NumpyArrayWrapper`: how joblib announces an array whose bytes follow in the file."""

    subclass: Any
    shape: tuple[int, ...]
    order: str
    dtype: Any
    numpy_array_alignment_bytes: int | None = None


class _NDArray:
    """Stands for `numpy.ndarray`, which can be made over foreign memory."""


def _dtype(spec: str, *_: Any) -> np.dtype[Any]:
    if not isinstance(spec, str) or not _DTYPE.fullmatch(spec):
        _refuse(f"numpy.dtype({spec!r})")
    # A copy, as numpy's own pickles make: a state would change the type for everybody.
    return np.dtype(spec, copy=True)


def _empty(kind: Any, shape: Any, _: Any) -> NDArray[Any]:
    if kind is not _NDArray or shape != (0,):
        _refuse(f"an array of {kind!r} and shape {shape!r}")
    return np.empty(0, dtype=np.int8)


def _scalar(dtype: Any, content: bytes) -> Any:
    return _from_bytes(content, dtype)[0]


def _from_bytes(content: Any, dtype: Any, shape: Any = -1, order: str = "C") -> NDArray[Any]:
    if not isinstance(dtype, np.dtype) or dtype.kind == "O" or not isinstance(content, bytes | bytearray | memoryview):
        _refuse("an array of objects made of bytes")
    return np.frombuffer(bytes(content), dtype).reshape(shape, order=order).copy(order="K")  # type: ignore[call-overload, no-any-return]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        _refuse(f"text in {encoding!r}")
    return text.encode("latin1")


def _bytearray(content: bytes = b"", *encoding: str) -> bytearray:
    return bytearray(_latin1(content, *encoding) if isinstance(content, str) else bytes(memoryview(content)))


_STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _latin1,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Array,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _NDArray,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _empty),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_bytes),
        )
    },
    **{
        (module, kind.__name__): stand_in
        for module in ("builtins", "__builtin__")
        for kind, stand_in in ((bytearray, _bytearray), (set, set), (frozenset, frozenset))
    },
}


def _granted(module: str, name: str) -> Any:
    """What a pickle gets for a name.

    Raises:
        UnsafePickle: it is not listed.
    """
    if (module, name) in _STAND_INS:
        return _STAND_INS[module, name]
    if _ONLY_IN_TRAINING.fullmatch(module):
        return _Unused
    if (module, name) in _CLASSES:
        return getattr(import_module(module), name)
    if _ESTIMATORS.fullmatch(module) and name.isidentifier():
        from sklearn.base import BaseEstimator

        found = getattr(import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, BaseEstimator) and found.__module__ == module:
            return found
    return _refuse(f"{module}.{name}")


class _Reader(_Unpickler):  # type: ignore[misc]
    """Reads a pickle in which only what was granted is called, and only instances of it are given a state."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_Unpickler.dispatch)

    def __init__(self, file: io.BytesIO, known: list[Any]) -> None:
        super().__init__(file)
        self._file = file
        self._known = known
        """What was granted."""

    def find_class(self, module: str, name: str) -> Any:
        self._known.append(found := _granted(module, name))
        return found

    def persistent_load(self, pid: Any) -> Any:
        _refuse("a persistent id")

    def load_reduce(self) -> None:
        called = self.stack[-2]
        if not any(called is each for each in self._known):
            _refuse(f"a call of {called!r}")
        super().load_reduce()

    def load_build(self) -> None:
        instance, state = self.stack[-2:]
        match instance:
            case np.dtype():
                _check_state(instance, state)
            case np.ndarray():
                pass
            case _ if not any(type(instance) is each for each in self._known):
                _refuse(f"a state for {instance!r}")
        super().load_build()
        if isinstance(instance, _Array):
            self.stack[-1] = self._array(instance)

    def _array(self, announced: _Array) -> NDArray[Any]:
        """The array that follows in the file."""
        dtype, shape = announced.dtype, tuple(map(int, announced.shape))
        if not isinstance(dtype, np.dtype) or announced.subclass is not _NDArray or min(shape, default=0) < 0:
            _refuse("an array of a kind of its own")
        if dtype.kind == "O":
            nested: NDArray[Any] = _Reader(self._file, self._known).load()
            return nested
        if announced.numpy_array_alignment_bytes is not None:
            self._file.read(self._file.read(1)[0])
        content = self._file.read(min(prod(shape) * dtype.itemsize, LARGEST))
        flat = np.frombuffer(content, dtype).copy()
        return flat.reshape(shape[::-1]).transpose() if announced.order == "F" else flat.reshape(shape)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def _check_state(dtype: np.dtype[Any], state: Any) -> None:
    """A type may be told its byte order, or that it is a row of a tree; told otherwise, bytes might pass for objects.

    Raises:
        UnsafePickle: it is told something else.
    """
    possible = (dtype, *(dtype.newbyteorder(order) for order in _ORDERS), *_rows_of_trees())
    if not any(state == each.__reduce__()[2] for each in possible):
        _refuse(f"{dtype!r} with {state!r}")


@cache
def _rows_of_trees() -> tuple[np.dtype[Any], ...]:
    from sklearn.ensemble._hist_gradient_boosting.predictor import PREDICTOR_RECORD_DTYPE
    from sklearn.tree._tree import NODE_DTYPE

    return NODE_DTYPE, PREDICTOR_RECORD_DTYPE


def _unpacked(content: bytes) -> bytes:
    for prefix, unpacking in _UNPACKING:
        if content.startswith(prefix):
            unpacker = unpacking()
            try:
                plain: bytes = unpacker.decompress(content, LARGEST + 1)
            except (OSError, lzma.LZMAError, zlib.error) as error:
                raise _malformed(f"it cannot be unpacked: {error}") from error
            if len(plain) > LARGEST:
                raise _malformed(f"it unpacks to more than {LARGEST >> 20} MiB")
            if not unpacker.eof:
                raise _malformed("it is cut off: copy the whole file")
            return plain
    if not content.startswith(pickle.PROTO):
        raise _malformed("it is no joblib file: dump the estimator with joblib.dump(model, path)")
    return content


def _refuse(what: str) -> NoReturn:
    message = (
        "loading it would run or forge this, which no estimator that is supported here needs, so it was not loaded: "
        "use the library's own format, or one of scikit-learn's regressors or pipelines"
    )
    raise UnsafePickle([Reason(code="unsafe_pickle", where=quoted(what), message=message)])


def _malformed(message: str) -> MalformedModel:
    return MalformedModel([Reason(code="malformed_model", message=message[:4096])])

"""Estimators in joblib files: read to the last bit; what else such a file carries is refused, and does not run."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import ElasticNet
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from orchestrator.algorithms import pickles
from orchestrator.algorithms.base import MalformedModel
from orchestrator.algorithms.formats import UnusableModel, probe, read_model
from orchestrator.algorithms.pickles import UnsafePickle

NAMES = ("momentum", "rsi_14", "volatility_20")
RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(120, 3))
TARGET = 0.01 * FEATURES[:, 0] + 0.01 * RNG.normal(size=120)


def dumped(estimator: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, **options)
    return buffer.getvalue()


def codes(content: bytes, names: tuple[str, ...] | None = NAMES) -> list[str]:
    with pytest.raises(MalformedModel) as refused:
        read_model("joblib", content, "elasticnet", names)
    return [reason.code for reason in refused.value.reasons]


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "estimator",
    [
        ElasticNet(alpha=1e-4),
        make_pipeline(StandardScaler(), ElasticNet(alpha=1e-4)),
        RandomForestRegressor(3, max_depth=3, random_state=np.random.RandomState(1), n_jobs=2),
        GradientBoostingRegressor(n_estimators=3),
        HistGradientBoostingRegressor(max_iter=3),
        MLPRegressor(loss="squared_error", hidden_layer_sizes=(4,), max_iter=5, random_state=1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_estimator_predicts_what_it_did_and_each_row_whatever_is_beside_it(estimator: Any, protocol: int) -> None:
    with warnings.catch_warnings(action="ignore"):
        estimator.fit(FEATURES, TARGET)
    read = read_model("joblib", dumped(estimator, protocol=protocol), "elasticnet", NAMES)
    probe(read)
    together = read.predict(FEATURES)
    assert np.allclose(together, estimator.predict(FEATURES), rtol=1e-12, atol=0)
    alone = np.concatenate([read.predict(row[None]) for row in FEATURES])
    assert together.tobytes() == alone.tobytes()
    assert np.isnan(read.predict(np.array([[np.nan, 0, 0], [1e300, 0, 0]]))).all()


@pytest.mark.parametrize("compress", [3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_compressed_files_and_plain_pickles_are_read_and_say_which_features_they_take(compress: Any) -> None:
    estimator = ElasticNet(alpha=1e-4).fit(pd.DataFrame(FEATURES, columns=list(NAMES)), TARGET)
    for content in (dumped(estimator, compress=compress), pickle.dumps(estimator)):
        read = read_model("joblib", content, "elasticnet", None)
        assert read.feature_names == NAMES
        assert read.dump() == content
    assert codes(content, ("rsi_14", "momentum", "volatility_20")) == ["features_differ"]


class Payload:
    """A pickle of it runs a command."""

    def __init__(self, run: Any, *arguments: Any) -> None:
        self.run = (run, arguments)

    def __reduce__(self) -> Any:
        return self.run


def in_an_attribute(payload: Any) -> Any:
    estimator = ElasticNet(alpha=1e-4).fit(FEATURES, TARGET)
    estimator.extra_ = payload
    return estimator


def in_an_array(payload: Any) -> Any:
    # joblib writes it as a pickle of its own behind the first one's announcement.
    return in_an_attribute(np.array([payload, None], dtype=object))


@pytest.mark.parametrize("place", [lambda payload: payload, in_an_attribute, in_an_array])
@pytest.mark.parametrize(
    "pack",
    [bytes, zlib.compress, gzip.compress, bz2.compress, lzma.compress],
    ids=["plain", "zlib", "gzip", "bz2", "xz"],
)
def test_a_payload_is_refused_by_name_and_never_runs(
    place: Callable[[Any], Any], pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"
    payload = Payload(os.system, f"touch {marker}")
    content = pack(dumped(place(payload)))
    with pytest.raises(UnsafePickle) as refused:
        read_model("joblib", content, "elasticnet", NAMES)
    assert [(reason.code, reason.where) for reason in refused.value.reasons] == [("unsafe_pickle", "posix.system")]
    assert not marker.exists()
    # The payload is real: whoever loads the file as joblib does runs it.
    (tmp_path / "file").write_bytes(content)
    joblib.load(tmp_path / "file")
    assert marker.exists()


@pytest.mark.parametrize(
    "run",
    [
        Payload(eval, "1"),
        Payload(getattr, "", "join"),
        Payload(np.load, "/etc/passwd"),
        Payload(joblib.load, "/etc/passwd"),
        Payload(np.frompyfunc, len, 1, 1),
        np.log1p,
        make_pipeline(FunctionTransformer(np.log1p), ElasticNet()),
    ],
    ids=lambda each: type(each).__name__,
)
def test_whatever_is_not_listed_is_refused(run: Any) -> None:
    assert codes(dumped(in_an_attribute(run))) == ["unsafe_pickle"]


@pytest.mark.parametrize(
    "program",
    [
        b"csklearn.linear_model._base\nnp\n.",
        b"csklearn.datasets\nload_files\n.",
        b"\x80\x04\x8c\x16sklearn.linear_model._base\x8c\x0bnp.os.systemC\x00\x87R.",
        b"csklearn.linear_model._coordinate_descent\nElasticNet\n}S'predict'\nI1\nsb.",
        b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb.",
        b"cnumpy\ndtype\n(S'V8'\nI00\nI01\ntR(I3\nS'|'\nN(S'f0'\nt}S'f0'\n(S'O'\nI0\ntsI8\nI1\nI0\ntb.",
        b"cnumpy._core.multiarray\nscalar\n(S'f8'\nS'12345678'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I9\ntS'O'\ntR.",
        b"Pfile\n.",
        b"\x82\x01.",
    ],
)
def test_programs_that_forge_or_patch_are_refused(program: bytes) -> None:
    before = vars(ElasticNet).copy()
    content = program if program.startswith(b"\x80") else b"\x80\x02" + program
    assert codes(content)[0] in ("unsafe_pickle", "malformed_model")
    assert vars(ElasticNet) == before


def test_nearest_neighbours_over_a_tree_are_refused_by_name() -> None:
    with pytest.raises(UnsafePickle, match="kd_tree"):
        read_model("joblib", dumped(KNeighborsRegressor(algorithm="kd_tree").fit(FEATURES, TARGET)), "x", NAMES)


def test_what_is_cut_off_or_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dumped(in_an_attribute(np.arange(500.0)))
    for content in (
        whole[:-1],
        whole[: len(whole) // 2],
        zlib.compress(whole)[:-9],
        b"",
        b"\x80",
        b"text",
        b"\x78\x9c",
    ):
        assert codes(content) == ["malformed_model"]
    assert codes(dumped([1, 2])) == ["malformed_model"]
    assert codes(dumped(ElasticNet())) == ["malformed_model"]
    monkeypatch.setattr(pickles, "LARGEST", 4000)
    assert codes(zlib.compress(whole)) == ["malformed_model"]


def test_what_does_not_predict_a_finite_number_a_row_is_refused() -> None:
    two = ElasticNet(alpha=1e-4).fit(FEATURES, np.stack([TARGET, TARGET], axis=1))
    endless = ElasticNet(alpha=1e-4).fit(FEATURES, TARGET)
    endless.coef_ = np.array([np.inf, 0.0, 0.0])
    for estimator, code in ((two, "wrong_shape"), (endless, "not_finite")):
        read = read_model("joblib", dumped(estimator), "elasticnet", NAMES)
        with pytest.raises(UnusableModel) as refused:
            probe(read)
        assert [reason.code for reason in refused.value.reasons] == [code]

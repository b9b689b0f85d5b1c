"""`orchestrator models`: a file becomes a registered model, or the reason is said and nothing is written."""

import asyncio
import os
from pathlib import Path

import pytest
from sklearn.linear_model import ElasticNet
from typer.testing import CliRunner, Result

from orchestrator.store import models
from orchestrator.store.database import Database
from serving.artifacts import Artifacts
from streams.cli import app
from tests.unit.algorithms.test_pickles import FEATURES, NAMES, TARGET, Payload, dumped, in_an_array
from tests.unit.serving.drafts import candidate
from tests.unit.streams.test_cli_fingerprints import on, url

__all__ = ["url"]

DECLARED = {
    "--algorithm": "elasticnet",
    "--timeframe": "1d",
    "--ticker": "AAPL",
    "--trained-through": "2011-01-01T00:00:00Z",
}
FEATURE_OPTIONS = [option for name in NAMES for option in ("--feature", name)]


@pytest.fixture
def root(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MODELS_DIR of a service with an empty store."""

    async def nothing(db: Database) -> None:
        """The store is there."""

    on(url, nothing)
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "incoming"))
    monkeypatch.setenv("MODEL_MAX_MB", "1")
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def register(path: str, *options: str, **declared: str) -> Result:
    said = DECLARED | {"--" + name.replace("_", "-"): value for name, value in declared.items()}
    return run("register", path, *(part for pair in said.items() for part in pair), *options)


def registered(url: str) -> list[str]:
    async def ask() -> list[str]:
        db = Database.open(url)
        try:
            async with db.snapshot() as tx:
                return [each.name for each in await models.every(tx)]
        finally:
            await db.close()

    return asyncio.run(ask())


def test_a_model_is_registered_listed_and_shown(root: Path, tmp_path: Path) -> None:
    assert run("list").stdout == "no model is registered yet\n"
    content = dumped(ElasticNet(alpha=1e-4).fit(FEATURES, TARGET))
    (root / "momentum.joblib").write_bytes(content)
    done = register("momentum.joblib", "--trust-pickle", "--ticker", "MSFT", *FEATURE_OPTIONS)
    assert done.exit_code == 0, done.stderr
    name, digest = done.stdout.strip().split(" is registered: ")
    assert (name, Artifacts(tmp_path / "artifacts").get(digest)) == ("momentum", content)
    # What becomes of the file matters no more.
    (root / "momentum.joblib").write_bytes(b"something else")
    assert run("list").stdout.splitlines()[1].split() == [
        "momentum",
        "elasticnet",
        "joblib",
        "AAPL,MSFT",
        "1d",
        "2011-01-01T00:00:00.000000Z",
        digest,
    ]
    for named in (digest, "momentum"):
        shown = dict(line.split(maxsplit=1) for line in run("show", named).stdout.splitlines())
        assert (shown["feature_names"], shown["horizon"]) == (", ".join(NAMES), "1")
    assert run("show", "nobody").exit_code == 1


def test_a_sealed_predictor_needs_no_trust_and_hours_look_further_ahead(root: Path) -> None:
    (root / "sealed").write_bytes(candidate("t1").predictor.dump())
    assert register("sealed", timeframe="1h").exit_code == 0
    assert "horizon           12" in run("show", "sealed").stdout


def test_what_is_refused_is_told_and_nothing_is_written(root: Path, url: str, tmp_path: Path) -> None:
    (root / "plain").write_bytes(dumped(ElasticNet(alpha=1e-4).fit(FEATURES, TARGET)))
    (root / "large").write_bytes(bytes(2**20 + 1))
    (root / "no name.ubj").write_bytes(b"{")
    (root / "link").symlink_to(root / "plain")
    (root / "sealed").write_bytes(candidate("t1").predictor.dump())
    refusals = [
        (register("plain", *FEATURE_OPTIONS), "say so with --trust-pickle"),
        (register("plain", "--trust-pickle"), "name them, in order"),
        (register("../plain"), "`..` is not followed"),
        (register(str(tmp_path / "artifacts")), "(MODELS_DIR): copy the file there"),
        (register("link"), "links are not followed"),
        (register("large"), "larger than 1 MiB: raise MODEL_MAX_MB"),
        (register("no name.ubj"), "XGBoost does not read it"),
        (register("sealed", name="no name"), "name: String should match pattern"),
        (register("sealed", ticker="../AAPL"), "tickers.0: String should match pattern"),
        (register("sealed", timeframe="daily"), "timeframe: String should match pattern"),
        (register("sealed", algorithm="crystal_ball"), "No installed package offers this algorithm"),
        (register("sealed", trained_through="2199-01-01T00:00:00Z"), "trained_through: it is in the future"),
        (register("sealed", trained_through="lately"), "must be an RFC 3339 time"),
    ]
    for result, said in refusals:
        assert said in result.stderr.replace("\n", " "), (said, result.output)
        assert result.exit_code != 0
    assert registered(url) == []
    assert not (tmp_path / "artifacts").exists()


def test_a_payload_does_not_run_even_where_pickles_are_trusted(root: Path, url: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    (root / "evil.joblib").write_bytes(dumped(in_an_array(Payload(os.system, f"touch {marker}"))))
    result = register("evil.joblib", "--trust-pickle", *FEATURE_OPTIONS)
    assert (result.exit_code, "posix.system" in result.stderr) == (1, True)
    assert not marker.exists()
    assert registered(url) == []

"""An operator deploys, rolls back and deletes an ensemble of a search that is over, and one of registered models."""

import time
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.linear_model import ElasticNet

from orchestrator.features.parquet import ParquetFeatures
from schemas.ensembles import EnsemblePerformance
from schemas.envelope import decode
from schemas.signals import Signal
from schemas.topics import ENSEMBLE_EVENTS, SIGNALS_PAPER
from streams.following import event_of
from streams.source import Record
from tests.service import Service, of_type, request

pytestmark = pytest.mark.slow

TICKER = "MSFT"
PART = 10


def _signals(service: Service, enough: int, ensemble: str = "voters") -> list[Signal]:
    """What the ensemble has said on paper, in order."""
    named = f'"ensemble":"{ensemble}"'.encode()
    found = service.await_records(SIGNALS_PAPER, enough, lambda record: named in (record.value or b""))
    return sorted((decode(Signal, record.value) for record in of_type(found, Signal)), key=lambda one: one.event_time)


def _played(service: Service, part: int, enough: int) -> list[Signal]:
    service.play(slice(PART * part, PART * (part + 1)), [TICKER])
    return _signals(service, enough)


def _is_of_a_version(record: Record) -> bool:
    return record.key == b"voters" and b'"event":"performance"' not in (record.value or b"")


def _ordered(service: Service, *arguments: str) -> str:
    done = service.command("ensembles", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_ensemble_is_deployed_rolled_back_and_deleted_by_command(service: Service) -> None:
    # Without costs and with a low threshold something is held after every bar.
    asked = request(service, "to-be-voted", name="voted", tickers=[TICKER], costs={"default_bps": 0}, seed=23)
    asked["param_grid"] = {"alpha": [0.0005, 0.005], "l1_ratio": [0.1, 0.9]}
    assert service.follow(service.ask(**asked), deploys=False).succeeded
    refused = service.command("ensembles", "deploy", "nobody", "--name", "voters")
    assert (refused.returncode, refused.stderr) == (1, "there is no experiment nobody\n")

    for number, top in ((1, "1"), (2, "3")):
        options = ["--top", top, "--threshold", "0.01", "--mode", "paper", "--no-gate"]
        said = _ordered(service, "deploy", "voted", "--name", "voters", *options)
        assert said.startswith(f"version {number} of voters answers live ticks on signals.paper with"), said
    assert {each.version for each in _played(service, 0, PART)} == {2}

    assert _ordered(service, "roll-back", "voters").startswith("version 1 of voters answers")
    again = _played(service, 1, 2 * PART)[PART:]
    assert {(each.version, each.num_models) for each in again} == {(1, 1)}
    assert again[-1].target_position in (1, -1)
    shown = _ordered(service, "show", "voters")
    assert [line.split()[:2] for line in shown.splitlines()[1:3]] == [["1", "deployed"], ["2", "rolled_back"]]
    assert ["voters", "1"] in [line.split()[:2] for line in _ordered(service, "list").splitlines()]

    assert _ordered(service, "delete", "voters") == "voters is deleted\n"
    deadline = time.monotonic() + 60
    while 'orchestrator_serving_version{ensemble="voters"} 0.0' not in service.get("/metrics"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # A bar by itself: what comes in one batch with it would be answered, too.
    service.play(slice(2 * PART, 2 * PART + 1), [TICKER])
    last = _signals(service, 2 * PART + 1)[-1]
    assert (last.target_position, last.version) == (0, 1)
    assert [reason.code for reason in last.reasons] == ["deleted", "not_covered"]
    told = [event_of(each) for each in service.await_records(ENSEMBLE_EVENTS, 8, _is_of_a_version)]
    assert [(event.event, event.version, event.serving_version) for event in told[4:]] == [  # type: ignore[attr-defined]
        ("deploying", 1, 2),
        ("rolled_back", 2, 1),
        ("deployed", 1, 1),
        ("deleted", 1, None),
    ]
    earned = service.await_records(ENSEMBLE_EVENTS, 1, lambda each: b'"event":"performance"' in (each.value or b""))
    assert decode(EnsemblePerformance, earned[-1].value).mode == "paper"
    service.play(slice(3 * PART, 4 * PART), [TICKER])
    time.sleep(2)
    assert len(_signals(service, 2 * PART + 1)) == 2 * PART + 1


def _trained(service: Service, ticker: str) -> dict[str, str]:
    """An elastic net in joblib's format and an XGBoost model in its own, registered; their digests by file."""
    bars = ParquetFeatures(service.settings.features_folder).load(ticker, "1d")
    rows = slice(len(bars) - 200)
    features, returns = bars.features[rows], np.diff(np.log(bars.close))[rows]
    folder = service.settings.models_folder
    folder.mkdir()
    joblib.dump(ElasticNet(alpha=1e-5).fit(features, returns), folder / "linear.joblib")
    settings: dict[str, Any] = {"n_estimators": 20, "max_depth": 2, "n_jobs": 1}
    xgboost.XGBRegressor(**settings).fit(features, returns).save_model(folder / "trees.ubj")
    through = f"{bars.event_time[rows][-1]}Z"
    said = ["--timeframe", "1d", "--ticker", ticker, "--trained-through", through]
    said += [option for name in bars.feature_names for option in ("--feature", name)]
    registered = {}
    for file, *options in (
        ("linear.joblib", "--algorithm", "elasticnet", "--trust-pickle"),
        ("trees.ubj", "--algorithm", "xgb"),
    ):
        done = service.command("models", "register", file, *options, *said)
        assert done.returncode == 0, done.stderr
        registered[file] = done.stdout.strip().split()[-1]
    return registered


def test_registered_models_are_deployed_and_added_by_command(service: Service) -> None:
    digests = _trained(service, "IBM")
    refused = service.command("ensembles", "deploy-models", "foreign", digests["linear.joblib"])
    assert (refused.returncode, "ask with gate false" in refused.stderr) == (1, True)
    options = ["--no-gate", "--mode", "paper", "--threshold", "0.01"]
    said = _ordered(service, "deploy-models", "foreign", digests["linear.joblib"], *options)
    assert said == "version 1 of foreign answers live ticks on signals.paper with 1 members\n"
    service.play(slice(0, PART), ["IBM"])
    assert {(each.version, each.num_models) for each in _signals(service, PART, "foreign")} == {(1, 1)}

    said = _ordered(service, "add-member", "foreign", "trees")
    assert said == "version 2 of foreign answers live ticks on signals.paper with 2 members\n"
    service.play(slice(PART, 2 * PART), ["IBM"])
    later = _signals(service, 2 * PART, "foreign")[PART:]
    assert {(each.version, each.num_models, each.experiment, each.gate) for each in later} == {
        (2, 2, None, "overridden")
    }
    assert {vote.member for each in later for vote in each.votes} == {"linear", "trees"}
    assert _ordered(service, "delete", "foreign") == "foreign is deleted\n"

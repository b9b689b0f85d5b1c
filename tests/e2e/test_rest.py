"""The service by curl alone, as its first users meet it: quick start, a whole workflow, and a look round in trouble.

The requests are the documented ones, byte for byte but for these substitutions:

- GOOGL, NVDA, META and QQQ are IBM or left out, 5m is 1d: what the sample prices have.
- Populations and generations are smaller, so that a search takes seconds.
- Experiments go by the name that the search was answered with.
- `gate` is false: on a search of so few trials the gate may say no, which is not what is shown here.
- A prediction takes the features of the sample prices, and names its ticker, since the ensemble covers several.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service import Service

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""What curl -d says where nothing else is said."""
PATIENCE_SECONDS = 180.0


class Curl:
    """Speaks to a running service as curl does."""

    def __init__(self, service: Service) -> None:
        self._client = httpx.Client(base_url=service.url, timeout=60.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, headers: dict[str, str] = FORM, status: int = 202) -> Any:
        answer = self._client.post(path, content=json.dumps(body), headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def delete(self, path: str, status: int) -> Any:
        answer = self._client.delete(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    def until(self, path: str, is_so: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so(found := self.get(path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.3)
        return found

    def searched(self, asked: Any) -> Any:
        """The experiment, once its search is over and the gate has spoken."""
        return self.until(
            asked["location"], lambda found: found.get("verdict") or found["state"] in ("failed", "rejected")
        )

    def deployed(self, sent: Any) -> Any:
        """What the command has made."""
        done = self.until(sent["location"], lambda found: found["state"] in ("done", "refused") and found["version"])
        assert (done["state"], done["version_state"]) == ("done", "deployed"), done
        return done


@pytest.fixture
def curl(service: Service) -> Iterator[Curl]:
    client = Curl(service)
    yield client
    client.close()


def _features(service: Service) -> dict[str, float]:
    bars = service.bars()[0]
    return {name: float(value) for name, value in zip(bars.feature_names, bars.features[-1], strict=True)}


def test_the_quick_start_leads_from_a_search_to_a_trading_signal(service: Service, curl: Curl) -> None:
    asked = curl.post(
        "/search/pbt",
        {
            "algorithm": "elasticnet",
            "tickers": ["AAPL", "MSFT", "IBM"],
            "population_size": 4,
            "num_generations": 2,
            "target_transform": "log_return",
            "timeframe": "1d",
        },
        JSON,
    )
    assert asked["experiment"].startswith("pbt_elasticnet_")
    found = curl.searched(asked)
    assert (found["state"], found["finished"]) == ("selected", found["trials"])
    assert len(found["all_trials"]) == found["total_trials"] == asked["trials"]

    # Deploying, as the quick start has it and, without a Content-Type, as the chapter on ensembles has it.
    top = curl.get(f"/experiments/{asked['experiment']}/top/5")["top"]
    ranked = [trial["metrics"]["sharpe_ratio"] for trial in top]
    assert ranked == sorted(ranked, reverse=True)
    survivors = {"ensemble_name": "trading_bot_v1", "experiment_name": asked["experiment"], "top_n": 5, "gate": False}
    sent = curl.post("/ensemble/deploy-pbt-survivors", survivors | {"voting": "soft", "threshold": 0.7}, JSON)
    assert curl.deployed(sent)["ensemble"] == "trading_bot_v1"

    said = {"features": _features(service), "ticker": "AAPL"}
    prediction = curl.post("/ensemble/trading_bot_v1/predict", said, JSON, status=200)
    assert prediction["signal"] in ("BUY", "SELL", "HOLD")
    assert 0 <= prediction["confidence"] <= 1
    assert (prediction["voting_method"], prediction["num_models"] >= 1) == ("soft", True)
    assert curl.post("/ensemble/trading_bot_v1/predict", said, status=200) == prediction


def test_the_example_workflow_goes_on_to_the_endpoint_of_a_trading_system(service: Service, curl: Curl) -> None:
    asked = curl.post(
        "/search/multi-ticker-pbt",
        {
            "algorithm": "xgboost_regressor",
            "tickers": ["AAPL", "MSFT", "IBM"],
            "population_size": 4,
            "num_generations": 2,
            "target_transform": "log_return",
            "timeframe": "1d",
        },
        JSON,
    )
    found = curl.searched(asked)
    assert found["state"] == "selected", found["reasons"]
    assert curl.get(f"/experiments/{asked['experiment']}/top/10")["top"]
    survivors = {"ensemble_name": "universal_bot", "experiment_name": asked["experiment"], "top_n": 5, "gate": False}
    assert curl.deployed(curl.post("/ensemble/deploy-pbt-survivors", survivors | {"voting": "soft", "threshold": 0.65}))

    # In trouble: is Ray there, which trials failed, are the models loaded?
    assert curl.until("/status", lambda status: status["cluster_resources"])["cluster_resources"]["CPU"] >= 1
    assert [trial for trial in found["all_trials"] if trial["status"] == "failed"] == []
    ensemble = curl.get("/ensemble/universal_bot")
    assert (ensemble["serving_version"], len(ensemble["members"]) >= 1) == (1, True)
    # Where the models' files are looked up otherwise: each member names its own by digest.
    artifacts = service.settings.artifacts_folder
    assert all([*artifacts.rglob(f"*{member['artifact']}*")] for member in ensemble["members"])

    answer = httpx.post(
        ensemble["endpoint"], content=json.dumps({"features": _features(service), "ticker": "AAPL"}), trust_env=False
    )
    assert answer.json()["ensemble"] == "universal_bot"
    known = curl.get(f"/fingerprint/{asked['experiment']}")["fingerprints"]
    assert curl.delete(f"/fingerprint/{asked['experiment']}", 200) == {"cleared": len(known)}
    assert curl.until(curl.delete("/ensemble/universal_bot", 202)["location"], lambda done: done["state"] == "done")
    assert curl.get("/ensemble/universal_bot")["serving_version"] is None

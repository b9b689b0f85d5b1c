"""What was promised, written out: every endpoint, and every variable of the environment."""

import re
from pathlib import Path

import httpx
import pytest

import streams
from streams.settings import Settings

ENDPOINTS = [
    "POST /search/grid",
    "POST /search/pbt",
    "POST /search/asha",
    "POST /search/bayesian",
    "POST /search/multi-ticker-pbt",
    "POST /search/random",
    "GET /experiments",
    "GET /experiments/{name}",
    "GET /experiments/{name}/top/{n}",
    "POST /experiments/{name}/cancel",
    "POST /experiments/{name}/resume",
    "POST /ensemble/deploy",
    "POST /ensemble/deploy-pbt-survivors",
    "GET /ensemble",
    "GET /ensemble/{name}",
    "POST /ensemble/{name}/predict",
    "DELETE /ensemble/{name}",
    "POST /ensemble/{name}/members",
    "POST /ensemble/{name}/roll-back",
    "GET /health",
    "GET /status",
    "GET /symbols",
    "GET /algorithms",
    "GET /fingerprint/stats",
    "GET /fingerprint/{experiment}",
    "DELETE /fingerprint/{experiment}",
    "DELETE /fingerprint",
]
VARIABLES = {
    "RAY_ADDRESS": ("auto", "10.0.0.1:6379"),
    "RAY_DASHBOARD_PORT": ("8265", "8300"),
    "RAY_NAMESPACE": ("trading_bot", "other"),
    "RAY_NUM_CPUS_PER_TRIAL": ("", "2.0"),
    "RAY_NUM_GPUS_PER_TRIAL": ("", "0.5"),
    "RAY_MAX_CONCURRENT_TRIALS": ("8", "4"),
    "TUNE_METRIC": ("sharpe_ratio", "psr"),
    "TUNE_MODE": ("max", "min"),
    "TUNE_PBT_POPULATION_SIZE": ("20", "30"),
    "TUNE_ASHA_GRACE_PERIOD": ("10", "5"),
    "TUNE_SKIP_DUPLICATE": ("true", "false"),
    "TUNE_FLOAT_PRECISION": ("5", "6"),
    "TUNE_USE_FINGERPRINT_DB": ("true", "false"),
    "TUNE_RESUME_ERRORED": ("true", "false"),
    "TUNE_RESUME_UNFINISHED": ("true", "false"),
    "SERVE_VOTING": ("soft", "hard"),
    "SERVE_THRESHOLD": ("0.7", "0.8"),
}
"""By name: the default as it would be written, and another value. Without a share of the machine each algorithm takes
what it asks for: one CPU and no GPU at least."""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_every_endpoint_is_there(client: httpx.AsyncClient, endpoint: str) -> None:
    method, path = endpoint.split()
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert method.lower() in paths[path]
    # Where a path's parameters are filled in, the answer is the endpoint's own, and not that nothing is there.
    filled = re.sub(r"\{n\}", "1", re.sub(r"\{(name|experiment)\}", "nobody", path))
    answer = await client.request(method, filled, content=b"" if method == "POST" else None)
    codes = [reason["code"] for reason in answer.json().get("reasons", ())]
    assert not {"not_found", "method_not_allowed"} & {*codes}


@pytest.mark.parametrize(("variable", "values"), VARIABLES.items())
def test_every_variable_is_honoured(variable: str, values: tuple[str, str]) -> None:
    default, other = values
    described = {each.variable: each.default for each in Settings.describe()}
    assert described[variable] == default
    given, unset = (getattr(Settings.read(each), variable.lower()) for each in ({variable: other}, {}))
    assert str(given).lower() == other
    assert given != unset
    # Somebody reads it besides the settings themselves.
    sources = Path(str(streams.__file__)).parent.glob("*.py")
    read = re.compile(rf"settings\.{variable.lower()}\b")
    assert any(read.search(each.read_text()) for each in sources)

"""Every endpoint: what it answers, what it sends, and what it says of what is wrong."""

import json
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.api.ports import Faces, NotSent, Unreachable
from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, trials
from orchestrator.store.errors import DatabaseAway
from schemas.base import JsonObject, Reason
from schemas.commands import AddMember, Cancel, Delete, DeployEnsemble, ResendDeadLetter, Resume, RollBack
from schemas.control import Halt, Lift
from schemas.predictions import Problem
from schemas.search import SearchRequest
from tests.contracts.store.makers import NOW, completed, digest, founded, planned
from tests.support.faces import FakeKafka, FakeServe
from tests.support.market import ENSEMBLE, MODEL, REJECTED, RUNNING, SEARCHED

BODY: JsonObject = {"algorithm": "elasticnet", "tickers": ["AAPL", "MSFT"]}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""What curl -d sends along unless it is told otherwise."""


def kafka(faces: Faces) -> FakeKafka:
    return cast(FakeKafka, faces.kafka)


def codes(answer: httpx.Response) -> list[str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.json()["status"] == answer.status_code
    return [reason["code"] for reason in answer.json()["reasons"]]


@pytest.mark.parametrize(
    ("path", "strategy", "fields"),
    [
        ("grid", "grid", {"param_grid": {"alpha": [0.001, 0.01], "l1_ratio": [0.5]}}),
        ("random", "random", {"num_samples": 3}),
        ("pbt", "pbt", {"population_size": 4, "num_generations": 2}),
        ("asha", "asha", {"num_samples": 4, "search_alg": "optuna"}),
        ("bayesian", "bayesian", {"num_samples": 4, "resume": False}),
        ("multi-ticker-pbt", "multi_ticker_pbt", {"population_size": 4, "num_generations": 2}),
    ],
)
async def test_a_search_is_the_message_that_any_producer_would_send(
    client: httpx.AsyncClient, faces: Faces, path: str, strategy: str, fields: JsonObject
) -> None:
    answer = await client.post(f"/search/{path}", content=json.dumps(BODY | fields), headers=FORM)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    (asked,) = kafka(faces).searches
    same = BODY | fields | {"strategy": strategy, "request_id": told["request_id"], "name": told["experiment"]}
    assert asked == SearchRequest.model_validate_json(json.dumps(same))
    assert asked.model_fields_set == same.keys()
    assert told["experiment"].startswith(f"{strategy}_elasticnet_20260115_210000_")
    assert answer.headers["location"] == f"/experiments/{told['experiment']}"
    waiting = await client.get(answer.headers["location"])
    assert (waiting.status_code, waiting.json()["state"]) == (200, "requested")


async def test_a_search_that_is_asked_for_again_under_its_id_is_the_same_message(
    client: httpx.AsyncClient, faces: Faces
) -> None:
    for _ in range(2):
        await client.post("/search/random", json=BODY | {"request_id": "mine"})
    first, second = kafka(faces).searches
    assert first == second


async def test_a_search_is_not_asked_for_under_the_name_of_another_that_is_over(
    client: httpx.AsyncClient, faces: Faces
) -> None:
    answer = await client.post("/search/random", json=BODY | {"name": SEARCHED})
    assert (answer.status_code, codes(answer), kafka(faces).searches) == (409, ["name_taken"], [])
    again = await client.post("/search/random", json=BODY | {"name": SEARCHED, "request_id": "request-1"})
    attached = await client.post("/search/random", json=BODY | {"name": RUNNING})
    assert (again.status_code, attached.status_code) == (202, 202)


async def test_a_search_is_gone_on_with_by_its_name(client: httpx.AsyncClient, faces: Faces) -> None:
    asked = {"algorithm": "elasticnet", "tickers": ["AAPL"], "name": "my_experiment_v1", "resume": True}
    answer = await client.post("/search/pbt", content=json.dumps(asked), headers=FORM)
    assert (answer.status_code, answer.json()["experiment"]) == (202, "my_experiment_v1")
    (sent,) = kafka(faces).searches
    assert (sent.name, sent.resume, sent.request_id) == ("my_experiment_v1", True, answer.json()["request_id"])


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, [""]),
        (b"{", 400, [""]),
        (b"[]", 422, [""]),
        (b'{"tickers": ["AAPL"]}', 422, ["/algorithm"]),
        (json.dumps(BODY | {"strategy": "pbt"}).encode(), 422, ["/strategy"]),
        (json.dumps(BODY | {"num_samples": 3}).encode(), 422, ["/num_samples"]),
        (json.dumps(BODY | {"name": "../x", "population_size": 1}).encode(), 422, ["/population_size", "/name"]),
        (json.dumps(BODY | {"algorithm": "x", "tickers": ["XX"]}).encode(), 422, ["algorithm", "tickers/XX"]),
        (json.dumps(BODY | {"resume": True}).encode(), 422, ["/name"]),
    ],
)
async def test_a_search_that_cannot_be_done_is_refused_with_every_field(
    client: httpx.AsyncClient, faces: Faces, body: bytes, status: int, where: list[str]
) -> None:
    answer = await client.post("/search/pbt", content=body)
    assert answer.status_code == status
    assert codes(answer)
    assert sorted(reason["where"] for reason in answer.json()["reasons"]) == sorted(where)
    assert kafka(faces).searches == []


async def test_experiments_are_listed_by_the_page(client: httpx.AsyncClient) -> None:
    found = (await client.get("/experiments", params={"limit": 1})).json()
    assert (found["total"], [each["name"] for each in found["experiments"]]) == (2, [RUNNING])
    found = (await client.get("/experiments?state=running&ticker=IBM&strategy=random&sort=name&order=asc")).json()
    assert [each["name"] for each in found["experiments"]] == [RUNNING]
    found = (await client.get("/experiments", params={"name": "search"})).json()["experiments"][0]
    told = {name: found[name] for name in ("name", "finished", "failed", "best", "cached", "trials_per_second")}
    assert told == {
        "name": SEARCHED, "finished": 3, "failed": 1, "best": 3.0, "cached": 1, "trials_per_second": 2.0
    }  # fmt: skip


async def test_an_experiment_has_all_of_its_trials_unless_a_page_is_asked_for(client: httpx.AsyncClient) -> None:
    found = (await client.get(f"/experiments/{SEARCHED}")).json()
    assert [trial["status"] for trial in found["all_trials"]] == ["completed"] * 3 + ["failed"]
    assert [trial["cached"] for trial in found["all_trials"]] == [False, False, True, False]
    assert found["survivors"][0]["trial"] == "t00001"
    assert found["verdict"]["required"] == 0.95
    assert found["by_status"] == {"created": 0, "running": 0, "completed": 3, "stopped_early": 0, "failed": 1}
    page = await client.get(f"/experiments/{SEARCHED}?limit=2&offset=1&sort=metric&order=desc&status=completed")
    assert [trial["trial"] for trial in page.json()["all_trials"]] == ["t00002", "t00000"]
    assert (page.json()["total_trials"], page.json()["offset"]) == (3, 1)


async def test_the_best_trials_the_curve_and_one_trial_are_told(client: httpx.AsyncClient) -> None:
    top = (await client.get(f"/experiments/{SEARCHED}/top/2")).json()
    assert [trial["trial"] for trial in top["top"]] == ["t00001", "t00002"]
    curve = (await client.get(f"/experiments/{SEARCHED}/curve")).json()
    assert [(point["trial"], point["metric"]) for point in curve["points"]] == [("t00000", 1.0), ("t00001", 3.0)]
    trial = (await client.get(f"/experiments/{SEARCHED}/trials/t00001")).json()
    assert (len(trial["step_scores"]), len(trial["profit"])) == (1, 2)


async def test_trials_on_several_tickers_at_once_are_compared_by_their_objective(
    client: httpx.AsyncClient, faces: Faces
) -> None:
    name = await founded(faces.database, 3, State.RUNNING, strategy="multi_ticker_pbt", tickers=("AAPL", "MSFT"))
    async with faces.database.transaction() as tx:
        await trials.plan(tx, name, planned(2), NOW)
        for trial, metrics in (("t00000", (1.0, 0.5)), ("t00001", (0.9, 1.5))):
            scores: dict[str, float | None] = dict(zip(("sharpe_ratio", "objective"), metrics, strict=True))
            await trials.finish(tx, name, [replace(completed(trial), metrics=scores)], NOW)
    top = (await client.get(f"/experiments/{name}/top/2")).json()
    assert (top["metric"], [trial["trial"] for trial in top["top"]]) == ("objective", ["t00001", "t00000"])
    curve = (await client.get(f"/experiments/{name}/curve")).json()
    assert [point["metric"] for point in curve["points"]] == [0.5, 1.5]
    found = (await client.get(f"/experiments/{name}?sort=metric&order=desc")).json()
    assert (found["metric"], found["objective_of"]) == ("objective", "sharpe_ratio")
    assert [trial["trial"] for trial in found["all_trials"]] == ["t00001", "t00000"]
    alone = (await client.get(f"/experiments/{SEARCHED}")).json()
    assert (alone["metric"], alone["objective_of"]) == ("sharpe_ratio", None)


async def test_a_request_that_was_turned_down_tells_its_reasons(client: httpx.AsyncClient) -> None:
    found = (await client.get(f"/experiments/{REJECTED}")).json()
    assert (found["state"], found["reasons"][0]["code"]) == ("rejected", "broken")


async def test_ensembles_are_told_with_versions_members_and_what_they_earned(client: httpx.AsyncClient) -> None:
    (line,) = (await client.get("/ensemble")).json()["ensembles"]
    assert (line["name"], line["serving_version"], line["versions"]) == (ENSEMBLE, 2, 2)
    found = (await client.get(f"/ensemble/{ENSEMBLE}")).json()
    assert [version["state"] for version in found["versions"]] == ["superseded", "deployed"]
    assert found["members"][0] == found["members"][0] | {"member": "m1", "tickers": ["AAPL"], "algorithm": "elasticnet"}
    assert (found["performance"][0]["mode"], found["performance"][0]["signals"]) == ("paper", 3)
    assert found["endpoint"] == f"http://127.0.0.1:8000/{ENSEMBLE}"


SURVIVORS = {"ensemble_name": "new", "experiment_name": SEARCHED, "top_n": 3, "voting": "soft", "threshold": 0.65}


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "fields"),
    [
        ("POST", f"/experiments/{RUNNING}/cancel", None, Cancel, {"experiment": RUNNING}),
        ("POST", f"/experiments/{RUNNING}/resume", None, Resume, {"experiment": RUNNING}),
        (
            "POST",
            "/ensemble/deploy-pbt-survivors",
            SURVIVORS,
            DeployEnsemble,
            {"ensemble": "new", "experiment": SEARCHED, "top_n": 3, "threshold": 0.65, "gate": True},
        ),
        (
            "POST",
            "/ensemble/deploy",
            {"ensemble_name": "new", "model_paths": [MODEL]},
            DeployEnsemble,
            {"ensemble": "new", "models": (digest(77),), "gate": False},
        ),
        (
            "POST",
            f"/ensemble/{ENSEMBLE}/members",
            {"model_path": f"/app/data/models/ray/{MODEL}.joblib", "ticker": "AAPL"},
            AddMember,
            {"ensemble": ENSEMBLE, "model": digest(77), "ticker": "AAPL"},
        ),
        ("POST", f"/ensemble/{ENSEMBLE}/roll-back", None, RollBack, {"ensemble": ENSEMBLE, "version": None}),
        ("POST", f"/ensemble/{ENSEMBLE}/roll-back", {"version": 1}, RollBack, {"version": 1}),
        ("DELETE", f"/ensemble/{ENSEMBLE}", None, Delete, {"ensemble": ENSEMBLE}),
        (
            "POST",
            "/dead-letters/resend",
            {"topic": "search-requests.dlq", "partition": 0, "offset": 3},
            ResendDeadLetter,
            {"topic": "search-requests.dlq", "offset": 3},
        ),
    ],
)
async def test_what_changes_something_is_a_command_on_kafka(
    client: httpx.AsyncClient, faces: Faces, method: str, path: str, body: Any, kind: type, fields: JsonObject
) -> None:
    content = None if body is None else json.dumps(body)
    answer = await client.request(method, path, content=content, headers=FORM)
    assert answer.status_code == 202, answer.text
    (command,) = kafka(faces).commands
    assert type(command) is kind
    assert {name: getattr(command, name) for name in fields} == fields
    assert command.command_id == answer.json()["command_id"]
    known = await client.get(answer.headers["location"])
    assert (known.status_code, known.json()["state"]) == (200, "sent")


async def test_what_became_of_a_command_is_told(client: httpx.AsyncClient) -> None:
    done = (await client.get("/commands/deploy-2")).json()
    assert (done["state"], done["ensemble"], done["version"]) == ("done", ENSEMBLE, 2)
    refused = (await client.get("/commands/nonsense")).json()
    assert (refused["state"], refused["reasons"][0]["code"]) == ("refused", "broken")


async def test_a_halt_is_given_shown_and_lifted(client: httpx.AsyncClient, faces: Faces) -> None:
    given = await client.post("/halts", json={"scope": "all", "action": "flatten", "reason": "enough"})
    assert [(each["scope"], each["action"], each["epoch"]) for each in given.json()["halts"]] == [("all", "flatten", 1)]
    assert isinstance(kafka(faces).halts["all"], Halt)
    assert len((await client.get("/halts")).json()["halts"]) == 1
    assert (await client.delete("/halts", params={"scope": "all"})).json() == {"halts": []}
    assert isinstance(kafka(faces).halts["all"], Lift)


async def test_fingerprints_are_shown_and_forgotten(client: httpx.AsyncClient) -> None:
    assert (await client.get("/fingerprint/stats")).json()["fingerprints"] == 1
    known = (await client.get(f"/fingerprint/{SEARCHED}")).json()
    assert [each["trial"] for each in known["fingerprints"]] == ["t00001"]
    assert (await client.delete(f"/fingerprint/{RUNNING}")).json() == {"cleared": 0}
    assert (await client.delete(f"/fingerprint/{SEARCHED}")).json() == {"cleared": 1}
    assert (await client.delete("/fingerprint")).json() == {"cleared": 0}


async def test_the_service_tells_what_it_consists_of(client: httpx.AsyncClient, faces: Faces) -> None:
    found = (await client.get("/status")).json()
    assert (found["cluster_resources"], found["lag"], found["faults"]) == ({"CPU": 2.0}, 0, {})
    assert found["experiments"] == {"running": 1, "selected": 1}
    kafka(faces).failure = Unreachable("Kafka", "no broker")
    found = (await client.get("/status")).json()
    assert (found["kafka"], found["faults"]) == (None, {"kafka": "Kafka does not answer: no broker"})
    async with faces.database.transaction() as tx:
        await tx.execute(text("ALTER TABLE experiments RENAME TO elsewhere"))
    found = (await client.get("/status")).json()
    assert (found["experiments"], sorted(found["faults"])) == (None, ["database", "kafka"])


async def test_symbols_algorithms_and_dead_letters_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/symbols")).json()["symbols"] == ["AAPL", "IBM", "MSFT"]
    assert (await client.get("/symbols?timeframe=5m")).json()["symbols"] == []
    assert [each["name"] for each in (await client.get("/algorithms")).json()["algorithms"]] == ["elasticnet"]
    (letter,) = (await client.get("/dead-letters")).json()["dead_letters"]
    assert (letter["its_offset"], letter["value"]) == (17, "\\xff{")


async def test_a_prediction_is_what_ray_serve_says(client: httpx.AsyncClient, faces: Faces) -> None:
    serve = cast(FakeServe, faces.serve)
    body = b'{"features": {"rsi_14": 35.0}}'
    answer = await client.post(f"/ensemble/{ENSEMBLE}/predict", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["signal"], serve.asked) == (200, "BUY", [(ENSEMBLE, body)])
    reason = Reason(code="no_ticker", message="say which")
    said = Problem(title="Unprocessable Entity", status=422, detail="say which", reasons=(reason,))
    serve.status, serve.body = 422, said.model_dump_json().encode()
    answer = await client.post(f"/ensemble/{ENSEMBLE}/predict", content=body)
    assert (answer.status_code, codes(answer)) == (422, ["no_ticker"])
    serve.status, serve.body = 404, b"Path '/bot' not found. Ping http://.../-/routes for available routes."
    answer = await client.post(f"/ensemble/{ENSEMBLE}/predict", content=body)
    assert (answer.status_code, codes(answer)) == (503, ["unreachable"])


async def test_an_ensemble_that_does_not_serve_predicts_nothing(client: httpx.AsyncClient, faces: Faces) -> None:
    async def deleted(tx: AsyncSession) -> None:
        assert await ensembles.delete(tx, ENSEMBLE, "delete-1", NOW) == ()

    await faces.database.commit(deleted)
    answer = await client.post(f"/ensemble/{ENSEMBLE}/predict", content=b'{"features": {}}')
    assert (answer.status_code, codes(answer)) == (409, ["nothing_serves"])
    assert cast(FakeServe, faces.serve).asked == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", "/experiments/", None, 404, "not_found"),
        ("PUT", "/experiments", None, 405, "method_not_allowed"),
        ("GET", "/experiments?limit=0", None, 422, "wrong_parameter"),
        ("GET", "/experiments?state=odd", None, 422, "wrong_parameter"),
        ("GET", "/experiments/nobody", None, 404, "unknown_experiment"),
        ("GET", "/experiments/%2e%2e%2fx", None, 404, "not_found"),
        ("GET", "/experiments/a.b", None, 422, "wrong_parameter"),
        ("GET", f"/experiments/{SEARCHED}/top/0", None, 422, "wrong_parameter"),
        ("GET", f"/experiments/{SEARCHED}/trials/none", None, 404, "unknown_trial"),
        ("POST", "/experiments/nobody/cancel", None, 404, "unknown_experiment"),
        ("GET", "/ensemble/nobody", None, 404, "unknown_ensemble"),
        ("DELETE", "/ensemble/nobody", None, 404, "unknown_ensemble"),
        ("POST", "/ensemble/nobody/predict", {"features": {}}, 404, "unknown_ensemble"),
        ("POST", f"/ensemble/{ENSEMBLE}/predict", {"features": []}, 422, "schema"),
        ("POST", "/ensemble/deploy", {"ensemble_name": "x", "model_paths": ["/etc/passwd"]}, 422, "unknown_model"),
        ("POST", "/ensemble/deploy-pbt-survivors", SURVIVORS | {"top": 1}, 422, "schema"),
        ("POST", "/halts", {"scope": "../x", "action": "flatten", "reason": "x"}, 422, "schema"),
        ("DELETE", "/halts", None, 422, "wrong_parameter"),
        ("GET", "/commands/nobody", None, 404, "unknown_command"),
        ("GET", "/fingerprint/nobody", None, 404, "unknown_experiment"),
    ],
)
async def test_whatever_is_wrong_is_told_as_a_problem(
    client: httpx.AsyncClient, faces: Faces, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await client.request(method, path, content=None if body is None else json.dumps(body))
    assert (answer.status_code, codes(answer)[0]) == (status, code)
    assert kafka(faces).commands == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (NotSent("r", "timed out"), 503, "not_sent"),
        (Unreachable("Kafka", "no broker"), 503, "unreachable"),
        (DatabaseAway("postgresql://me:secret@here/x", "connection refused"), 503, "database_away"),
        (RuntimeError("secret"), 500, "failed"),
    ],
)
async def test_what_fails_behind_it_is_told_without_its_inside(
    client: httpx.AsyncClient, faces: Faces, failure: Exception, status: int, code: str
) -> None:
    kafka(faces).failure = failure
    answer = await client.post("/search/random", json=BODY)
    assert (answer.status_code, codes(answer)) == (status, [code])
    assert "secret" not in answer.text


async def test_a_search_that_was_not_sent_is_not_told_as_asked_for(client: httpx.AsyncClient, faces: Faces) -> None:
    kafka(faces).failure = NotSent("r", "timed out")
    await client.post("/search/random", json=BODY | {"name": "mine"})
    assert (await client.get("/experiments/mine")).status_code == 404

"""Policies, challengers and lineages over REST: what each answers, what it sends, and what it says of what is wrong."""

import json
from typing import cast

import httpx
import pytest
import pytest_asyncio

from orchestrator.api.ports import Faces
from orchestrator.core.performance import Account
from orchestrator.store import challengers, ensembles
from orchestrator.store.tables import books
from schemas.base import JsonObject
from schemas.commands import Promote, RemovePolicy, Retire, Retrain, SetPolicy
from schemas.policies import DriftRule, Policy
from tests.contracts.api.test_rest import codes, kafka
from tests.contracts.store.makers import NOW, VERDICT, digest, later, proposal
from tests.support.faces import FakeKafka
from tests.support.market import CAUSE, ENSEMBLE, MANIFEST, POLICY, SEARCHED
from tests.support.signals import signal


@pytest_asyncio.fixture
async def challenged(faces: Faces) -> Faces:
    """Version 3 of the ensemble is on trial, with a book beside the champion's."""
    profits = {2: [0.01, 0.0, 0.01, -0.01], 3: [0.0, 0.01, 0.02, 0.0]}
    asked = proposal(SEARCHED, ENSEMBLE, manifest=MANIFEST, mode="shadow", command_id="deploy-3", verdict=VERDICT)
    async with faces.database.transaction() as tx:
        version = await ensembles.propose(tx, asked, NOW)
        await challengers.mark_shadowing(tx, ENSEMBLE, version, NOW)
        for number, profit in profits.items():
            account = Account(version=number, profit={later(86_400 * day): each for day, each in enumerate(profit)})
            row = {"ensemble": ENSEMBLE, "version": number, "account": account}
            await tx.execute(books.insert(), [row])
    return faces


async def test_a_policy_is_shown_set_and_removed(client: httpx.AsyncClient, faces: Faces) -> None:
    told = (await client.get(f"/ensemble/{ENSEMBLE}/policy")).json()
    assert Policy.model_validate_json(json.dumps(told["policy"])) == POLICY
    assert [each["ensemble"] for each in (await client.get("/policies")).json()["policies"]] == [ENSEMBLE]
    wanted = {"drift": {"windows": 3}, "promotion": {"auto": False}}
    assert (await client.put(f"/ensemble/{ENSEMBLE}/policy", json=wanted)).status_code == 202
    assert (await client.delete(f"/ensemble/{ENSEMBLE}/policy")).status_code == 202
    first, second = kafka(faces).commands
    assert isinstance(first, SetPolicy)
    assert (first.policy.drift, first.policy.promotion.auto) == (DriftRule(windows=3), False)
    assert isinstance(second, RemovePolicy)


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ({"schedule": "at noon"}, "/schedule"),
        ({"schedule": "99 18 * * 5"}, "schedule"),
        ({"promotion": {"canary": ["NOPE"]}}, "promotion/canary/NOPE"),
        ({"drift": {"windows": 0}}, "/drift/windows"),
        ({"drifts": {}}, "/drifts"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_at_its_field(
    client: httpx.AsyncClient, faces: Faces, policy: JsonObject, where: str
) -> None:
    answer = await client.put(f"/ensemble/{ENSEMBLE}/policy", json=policy)
    assert answer.status_code == 422, answer.text
    assert where in [reason["where"] for reason in answer.json()["reasons"]]
    assert kafka(faces).commands == []


async def test_what_would_trigger_what_has_and_the_challenger_are_told(
    client: httpx.AsyncClient, challenged: Faces
) -> None:
    told = (await client.get(f"/ensemble/{ENSEMBLE}/retraining")).json()
    assert {each["reading"]["detector"] for each in told["readings"]} == {"schedule", "age"}
    (age,) = [each for each in told["readings"] if each["reading"]["detector"] == "age"]
    assert 0 < age["nearness"] < 1
    (trigger,) = told["triggers"]
    assert (trigger["kind"], trigger["cause"], len(trigger["joined"])) == ("drift", CAUSE, 1)
    assert trigger["outcome"] is None
    trial = told["challenger"]
    assert (trial["version"]["version"], trial["canary"]) == (3, [])
    assert [each["version"] for each in trial["books"]] == [2, 3]
    assert (trial["paired"], trial["next_look"]) == (3, POLICY.promotion.sessions)
    assert trial["beyond"] == pytest.approx(0.03)
    assert [each["code"] for each in told["held_back"]] == ["under_way"]


async def test_retraining_promotion_and_retirement_are_commands(client: httpx.AsyncClient, challenged: Faces) -> None:
    place = f"/ensemble/{ENSEMBLE}"
    assert (await client.post(f"{place}/retrain", json={"cause": {"because": "a split"}})).status_code == 202
    assert (await client.post(f"{place}/promote", json={"tickers": ["AAPL"]})).status_code == 202
    assert (await client.post(f"{place}/promote", json={"version": 1, "command_id": "mine"})).status_code == 202
    assert (await client.post(f"{place}/retire")).status_code == 202
    retrain, canary, promote, retire = cast(FakeKafka, challenged.kafka).commands
    assert isinstance(retrain, Retrain)
    assert retrain.cause == {"because": "a split"}
    assert isinstance(canary, Promote)
    assert (canary.version, canary.tickers) == (3, ("AAPL",))
    assert isinstance(promote, Promote)
    assert (promote.version, promote.tickers, promote.command_id) == (1, (), "mine")
    assert isinstance(retire, Retire)
    assert retire.version == 3


async def test_what_is_not_there_is_told(client: httpx.AsyncClient, faces: Faces) -> None:
    for verb in ("promote", "retire"):
        assert codes(await client.post(f"/ensemble/{ENSEMBLE}/{verb}")) == ["no_challenger"]
        assert codes(await client.post(f"/ensemble/nobody/{verb}", json={"version": 1})) == ["unknown_ensemble"]
    for answer in (
        await client.get("/ensemble/nobody/retraining"),
        await client.get("/ensemble/nobody/policy"),
        await client.put("/ensemble/nobody/policy", json={}),
        await client.post("/ensemble/nobody/retrain"),
    ):
        assert codes(answer) == ["unknown_ensemble"]
    assert kafka(faces).commands == []


async def test_a_signal_goes_back_to_why_its_version_was_searched_for(client: httpx.AsyncClient, faces: Faces) -> None:
    said = signal(ensemble=ENSEMBLE)
    kafka(faces).signals.append(said)
    told = (await client.get(f"/signals/{said.id}/lineage", params={"ticker": "AAPL"})).json()
    assert told["found"] == {
        "topic": "signals",
        "partition": 0,
        "offset": 7,
        "produced_at": told["found"]["produced_at"],
    }
    assert (told["ensemble"], told["version"]["version"]) == (ENSEMBLE, 2)
    (member,) = told["members"]
    assert (member["trial"], member["fingerprint"], member["data_hash"]) == ("t00001", digest(1), digest(7))
    assert told["experiment"]["name"] == SEARCHED
    assert told["experiment"]["folds"]["folds"] == 6
    assert [each["request_id"] for each in told["requests"]] == ["request-1"]
    assert told["command"]["command_id"] == "deploy-2"
    assert [each["version"] for each in told["champions"]] == [1]
    assert told["version"]["verdict"]["trials"] == VERDICT.trials


async def test_a_signal_that_is_nowhere_is_told_with_how_far_was_looked(
    client: httpx.AsyncClient, faces: Faces
) -> None:
    kafka(faces).signals.append(signal(ensemble="another"))
    answer = await client.get(f"/signals/{'0' * 32}/lineage")
    assert codes(answer) == ["unknown_signal"]
    assert "signals as a whole (1 records)" in answer.json()["detail"]
    unknown = await client.get(f"/signals/{signal(ensemble='another').id}/lineage")
    assert codes(unknown) == ["unknown_version"]

"""Ensembles on a Ray Serve of their own."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import psutil
import pytest
from ray import serve

from orchestrator.core.access import key_digest
from schemas.base import Voting
from serving.answer import BatchAnswer, FeatureBatch
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.deployer import Deployer, DeployFailed, NotYet
from serving.manifest import read_manifest
from serving.replica import NotServing
from serving.version import ServedVersion, Standing
from streams import asking, ports
from streams.asking import Asked, Asking
from streams.child import Facts
from streams.routes import Route
from streams.triage import TickRules
from tests.ray_cluster import connected
from tests.unit.serving.drafts import batch, candidate, draft
from tests.unit.streams.fakes import Clock, record, tick

pytestmark = pytest.mark.slow

PATIENCE = 120.0
PLACE = ("bot", "AAPL", "1h", "replay")
PORT = ports.free()
BATCH = batch(("AAPL", "TSLA", "AAPL"), np.array([[3.0, 0.1, 0.2], [0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]), bound=False)


@pytest.fixture(scope="module", autouse=True)
def connection(ray_head: Facts) -> Iterator[None]:
    with connected(ray_head):
        yield
        serve.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return Artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def deployer(artifacts: Artifacts) -> Deployer:
    return Deployer(artifacts.directory, patience=PATIENCE, listening=lambda: nullcontext(("127.0.0.1", PORT)))


async def posted(ensemble: str, body: bytes = b'{"features": {}}', **headers: str) -> tuple[int, str, Any]:
    """Status, type and JSON of the response to a request to an ensemble."""
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/{ensemble}", body, headers)

    def ask() -> tuple[int, str, Any]:
        try:
            response = urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return response.status, response.headers["content-type"], json.load(response)

    return await asyncio.to_thread(ask)


def version(artifacts: Artifacts, number: int, *, ensemble: str = "bot", voting: Voting = "soft") -> ServedVersion:
    """A version of members of its own."""
    members = (candidate(f"t{number}", seed=number), candidate("t0"))
    assembled = EnsembleAssembler(artifacts).assemble(draft(*members, ensemble=ensemble, voting=voting, cost=0.0))
    return ServedVersion(ensemble, number, assembled.digest, "live", "passed")


async def answered(deployer: Deployer, ensemble: str = "bot", batch: FeatureBatch = BATCH) -> BatchAnswer:
    """What one version answers to all of a batch."""
    (part,) = await deployer.answer(ensemble, batch)
    return part.answer


def replicas(ensemble: str) -> list[psutil.Process]:
    """The processes of an ensemble's replicas, of this test's own Ray."""
    title = f"ServeReplica:ensemble-{ensemble}:"
    return [child for child in psutil.Process().children(recursive=True) if title in " ".join(child.cmdline())]


async def test_a_deployed_version_answers_and_deploying_it_again_changes_nothing(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    wanted = version(artifacts, 1)
    await deployer.deploy(wanted)
    await deployer.deploy(wanted)
    assert await deployer.serving() == {"bot": Standing(wanted)}
    found = await answered(deployer)
    assert found.served == wanted
    assert found.covered.tolist() == [True, False, True]
    assert np.isfinite(found.score).tolist() == [True, False, False]
    assert [[reason.code for reason in reasons] for reasons in found.reasons] == [[], [], ["missing_feature"]]
    assert {proxy.value for proxy in serve.status().proxies.values()} == {"HEALTHY"}


async def test_http_is_answered_by_the_version_that_serves_without_a_gap(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    features = {"momentum": 3.0, "volatility_20": 0.1, "rsi_14": 0.2}
    body = json.dumps({"features": features}).encode()
    first, second = version(artifacts, 1), version(artifacts, 2)
    await deployer.deploy(first)
    status, kind, said = await posted("bot", body)
    found = await answered(deployer)
    assert (status, kind) == (200, "application/json")
    assert (said["signal"], said["num_models"], said["voting_method"]) == ("BUY", 2, "soft")
    assert (said["version"], said["score"]) == (1, found.score[0])

    versions: list[int] = []
    changed = asyncio.Event()

    async def ask() -> None:
        while not changed.is_set():
            status, _, said = await posted("bot", body)
            assert status == 200, said
            versions.append(said["version"])

    async with asyncio.TaskGroup() as callers:
        callers.create_task(ask())
        await deployer.deploy(second)
        changed.set()
    assert set(versions) <= {1, 2}
    assert (await posted("bot", body))[2]["version"] == 2
    status, kind, said = await posted("bot")
    assert (status, kind) == (422, "application/problem+json")
    assert [reason["code"] for reason in said["reasons"]] == ["missing_feature"]
    assert (await posted("bot/else", body))[0] == 404


async def test_no_call_fails_during_a_change_of_version_and_each_answer_is_of_one_old_then_new(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    await deployer.deploy(version(artifacts, 1))
    versions: list[int] = []
    changed = asyncio.Event()

    async def call() -> None:
        left = 20
        while left:
            versions.append((await answered(deployer)).served.version)
            left -= changed.is_set()

    async with asyncio.TaskGroup() as callers:
        for _ in range(4):
            callers.create_task(call())
        await answered(deployer)
        await deployer.deploy(version(artifacts, 2))
        changed.set()
    assert set(versions) == {1, 2}
    assert all(earlier <= later for earlier, later in pairwise(versions))
    assert versions[-80:] == [2] * 80
    assert len(replicas("bot")) == 1


async def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    old, damaged = version(artifacts, 1), version(artifacts, 3)
    await deployer.deploy(old)
    [process] = replicas("bot")
    model = read_manifest(artifacts.get(damaged.digest)).members[0].artifact
    (artifacts.directory / model).write_bytes(b"half a model")
    with pytest.raises(DeployFailed) as failed:
        await deployer.deploy(damaged)
    assert [(reason.code, reason.where) for reason in failed.value.reasons] == [("artifact_damaged", model)]
    assert (await answered(deployer)).served == old
    assert replicas("bot") == [process]


async def test_a_first_version_that_cannot_be_loaded_leaves_no_application_behind(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    await deployer.deploy(version(artifacts, 1))
    with pytest.raises(DeployFailed, match="artifact_missing"):
        await deployer.deploy(replace(version(artifacts, 1), ensemble="other", digest="0" * 64))
    assert set(serve.status().applications) == {"ensemble-bot"}


async def test_a_replica_that_dies_comes_back_with_the_newest_version(deployer: Deployer, artifacts: Artifacts) -> None:
    await deployer.deploy(version(artifacts, 1))
    newest = version(artifacts, 2, voting="hard")
    await deployer.deploy(newest)
    [process] = replicas("bot")
    os.kill(process.pid, 9)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                found = await answered(deployer)
            except NotServing:
                await asyncio.sleep(0.1)
            else:
                break
    assert found.served == newest
    assert found.voting == "hard"
    assert replicas("bot") != [process]


async def test_a_version_whose_file_is_gone_when_its_replica_comes_back_is_refused_and_one_before_serves(
    deployer: Deployer, artifacts: Artifacts
) -> None:
    first, lost = version(artifacts, 1), version(artifacts, 7)
    await deployer.deploy(first)
    await deployer.deploy(lost)
    (artifacts.directory / lost.digest).unlink()
    [process] = replicas("bot")
    os.kill(process.pid, 9)

    async def deploy_until_it_is_missed() -> None:
        while True:
            await deployer.deploy(lost)
            await asyncio.sleep(0.1)

    with pytest.raises(DeployFailed, match="artifact_missing"):
        await deploy_until_it_is_missed()
    assert await deployer.serving() == {"bot": None}
    await deployer.deploy(first)
    assert (await answered(deployer)).served == first


async def test_another_deployer_finds_what_is_served(artifacts: Artifacts, deployer: Deployer) -> None:
    wanted = version(artifacts, 1)
    await deployer.deploy(wanted)
    other = Deployer(artifacts.directory, patience=PATIENCE)
    assert await other.serving() == {"bot": Standing(wanted)}
    assert (await answered(other)).served == wanted


async def test_a_new_key_is_asked_for_without_a_new_replica(artifacts: Artifacts, deployer: Deployer) -> None:
    wanted = version(artifacts, 1)
    await deployer.deploy(wanted)
    assert (await posted("bot"))[0] == 422
    guarded = Deployer(artifacts.directory, patience=PATIENCE, key_digest=key_digest("a key of the tests"))
    assert await guarded.serving() == {"bot": None}
    await guarded.deploy(wanted)
    assert await guarded.serving() == {"bot": Standing(wanted, (), key_digest("a key of the tests"))}
    assert (await posted("bot"))[0] == 401
    assert (await posted("bot", Authorization="Bearer a key of the tests"))[0] == 422
    await deployer.deploy(wanted)
    assert (await posted("bot"))[0] == 422


async def test_a_deleted_ensemble_answers_no_longer(deployer: Deployer, artifacts: Artifacts) -> None:
    await deployer.deploy(version(artifacts, 1))
    await deployer.delete("bot")
    await deployer.delete("bot")
    assert await deployer.serving() == {}
    with pytest.raises(NotServing, match="does not exist"):
        await answered(deployer)


async def test_whoever_still_asks_a_deleted_ensemble_is_not_kept_waiting(
    deployer: Deployer, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deployer.deploy(version(artifacts, 1))
    other = Deployer(artifacts.directory, patience=PATIENCE)
    assert (await answered(other)).served.version == 1
    await deployer.delete("bot")
    monkeypatch.setattr(asking, "PATIENCE", timedelta(seconds=1))
    asked = Asked(tick(mode="replay"), record(tick()), Route("bot", frozenset({"AAPL"}), "1h", "live"), PLACE)
    async with asyncio.timeout(PATIENCE):
        (said,) = [part async for part in Asking(other, TickRules(ttl=timedelta(seconds=60)), Clock()).about([asked])]
    assert said[0].sheet is None


async def test_what_ray_had_no_time_for_is_served_at_the_next_attempt(deployer: Deployer, artifacts: Artifacts) -> None:
    wanted = version(artifacts, 1, ensemble="late")
    with pytest.raises(NotYet):
        await Deployer(artifacts.directory, patience=0.5).deploy(wanted)
    await deployer.deploy(wanted)
    assert (await answered(deployer, "late")).served == wanted
    await deployer.delete("late")


async def test_ensembles_are_deployed_beside_each_other(deployer: Deployer, artifacts: Artifacts) -> None:
    wanted = [version(artifacts, 1, ensemble=ensemble) for ensemble in ("left", "right")]
    await asyncio.gather(*map(deployer.deploy, wanted))
    assert [(await answered(deployer, each.ensemble)).served for each in wanted] == wanted
    await asyncio.gather(*(deployer.delete(each.ensemble) for each in wanted))

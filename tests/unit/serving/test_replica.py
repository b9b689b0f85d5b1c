import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from schemas.base import JsonObject
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.replica import EnsembleReplica, NotServing
from serving.version import ServedVersion, read_configuration
from tests.unit.serving.drafts import batch, candidate, draft

BATCH = batch(("AAPL",))


def version(directory: Path, number: int) -> JsonObject:
    """The configuration of a version of its own members."""
    digest = EnsembleAssembler(Artifacts(directory)).assemble(draft(candidate(f"t{number}", seed=number))).digest
    return ServedVersion("bot", number, digest, "live", "passed").configuration(directory)


def broken(directory: Path, number: int) -> JsonObject:
    return version(directory, number) | {"digest": "0" * 64}


async def serving(replica: EnsembleReplica) -> int | None:
    standing = await replica.serving()
    return None if standing is None else standing.served.version


async def answered(replica: EnsembleReplica) -> ServedVersion:
    """Which version answers a bar that nobody has begun to answer."""
    (part,) = await replica.answer(replace(BATCH, bound=~BATCH.bound))
    return part.answer.served


async def test_a_replica_without_a_version_does_not_answer() -> None:
    replica = EnsembleReplica(retention=60.0)
    assert await replica.serving() is None
    with pytest.raises(NotServing, match="not_serving"):
        await replica.answer(BATCH)


async def test_a_staged_version_answers_from_the_reconfiguration_on(tmp_path: Path) -> None:
    replica, first, second = EnsembleReplica(retention=60.0), version(tmp_path, 1), version(tmp_path, 2)
    await replica.reconfigure(first)
    assert await replica.stage(second) == ()
    assert (await answered(replica)).version == 1
    await replica.reconfigure(second)
    assert await answered(replica) == read_configuration(second)[0]


async def test_a_version_that_cannot_be_staged_says_why_and_changes_nothing(tmp_path: Path) -> None:
    replica = EnsembleReplica(retention=60.0)
    await replica.reconfigure(version(tmp_path, 1))
    assert [reason.code for reason in await replica.stage(broken(tmp_path, 2))] == ["artifact_missing"]
    assert await serving(replica) == 1


async def test_a_replica_learns_of_another_key_with_the_configuration_of_the_version_that_it_serves(
    tmp_path: Path,
) -> None:
    replica, first = EnsembleReplica(retention=60.0), version(tmp_path, 1)
    await replica.reconfigure(first)
    await replica.reconfigure(first | {"key_digest": "0" * 64})
    standing = await replica.serving()
    assert standing is not None
    assert (standing.served.version, standing.key_digest) == (1, "0" * 64)


async def test_after_a_crash_the_configured_version_is_loaded_without_being_staged(tmp_path: Path) -> None:
    replica = EnsembleReplica(retention=60.0)
    await replica.reconfigure(version(tmp_path, 2))
    assert await serving(replica) == 2


async def test_a_configured_version_that_cannot_be_loaded_leaves_what_is_served_be_it_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replica = EnsembleReplica(retention=60.0)
    await replica.reconfigure(broken(tmp_path, 1))
    assert await serving(replica) is None
    await replica.reconfigure(version(tmp_path, 1))
    await replica.reconfigure(broken(tmp_path, 2))
    assert await serving(replica) == 1
    assert caplog.text.count("cannot be loaded") == 2


@pytest.mark.parametrize("error", [ValueError("half a model"), OSError("no disk")], ids=["the library", "the machine"])
async def test_what_a_library_raises_is_held_against_the_version_and_a_machine_s_trouble_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(content: bytes) -> None:
        raise error

    replica, wanted = EnsembleReplica(retention=60.0), version(tmp_path, 1)
    monkeypatch.setattr(ElasticNetTrainer, "load", staticmethod(load))
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="no disk"):
            await replica.stage(wanted)
        return
    assert [reason.code for reason in await replica.stage(wanted)] == ["load_raised"]


async def test_a_version_that_served_before_is_served_again_though_its_file_is_gone(tmp_path: Path) -> None:
    replica, first = EnsembleReplica(retention=60.0), version(tmp_path, 1)
    await replica.reconfigure(first)
    await replica.reconfigure(version(tmp_path, 2))
    shutil.rmtree(tmp_path)
    assert await replica.stage(first) == ()
    await replica.reconfigure(first)
    assert await serving(replica) == 1


async def test_what_was_staged_for_another_version_is_not_taken_over(tmp_path: Path) -> None:
    replica = EnsembleReplica(retention=60.0)
    await replica.stage(version(tmp_path, 1))
    await replica.reconfigure(version(tmp_path, 2))
    assert await serving(replica) == 2


async def test_a_promoted_version_is_heard_differently_at_once(tmp_path: Path) -> None:
    replica, shadow = EnsembleReplica(retention=60.0), version(tmp_path, 1) | {"mode": "shadow"}
    await replica.reconfigure(shadow)
    await replica.reconfigure(shadow | {"mode": "live"})
    assert (await answered(replica)).mode == "live"


async def test_calls_are_answered_while_another_version_is_staged(tmp_path: Path) -> None:
    replica, second = EnsembleReplica(retention=60.0), version(tmp_path, 2)
    await replica.reconfigure(version(tmp_path, 1))
    staging = asyncio.create_task(replica.stage(second))
    await asyncio.sleep(0)
    assert (await answered(replica)).version == 1
    assert not staging.done()
    assert await staging == ()

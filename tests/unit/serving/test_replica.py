import asyncio
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.errors import Refused
from schemas.base import JsonObject
from serving.answer import FeatureBatch
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.replica import EnsembleReplica, NotServing
from serving.version import ServedVersion, read_configuration
from tests.unit.serving.drafts import NAMES, candidate, draft

BATCH = FeatureBatch("1d", ("AAPL",), NAMES, np.zeros((1, 3)))


def version(directory: Path, number: int) -> JsonObject:
    """The configuration of a version of its own members."""
    digest = EnsembleAssembler(Artifacts(directory)).assemble(draft(candidate(f"t{number}", seed=number))).digest
    return ServedVersion("bot", number, digest, "live", "passed").configuration(directory)


def broken(directory: Path, number: int) -> JsonObject:
    return version(directory, number) | {"digest": "0" * 64}


async def serving(replica: EnsembleReplica) -> int | None:
    served = await replica.serving()
    return None if served is None else served.version


async def test_a_replica_without_a_version_does_not_answer() -> None:
    replica = EnsembleReplica()
    assert await replica.serving() is None
    with pytest.raises(NotServing, match="not_serving"):
        await replica.answer(BATCH)


async def test_a_staged_version_answers_from_the_reconfiguration_on(tmp_path: Path) -> None:
    replica, first, second = EnsembleReplica(), version(tmp_path, 1), version(tmp_path, 2)
    await replica.reconfigure(first)
    assert await replica.stage(second) == ()
    assert (await replica.answer(BATCH)).served.version == 1
    await replica.reconfigure(second)
    assert (await replica.answer(BATCH)).served == read_configuration(second)[0]


async def test_a_version_that_cannot_be_staged_says_why_and_changes_nothing(tmp_path: Path) -> None:
    replica = EnsembleReplica()
    await replica.reconfigure(version(tmp_path, 1))
    assert [reason.code for reason in await replica.stage(broken(tmp_path, 2))] == ["artifact_missing"]
    assert await serving(replica) == 1


async def test_after_a_crash_the_configured_version_is_loaded_without_being_staged(tmp_path: Path) -> None:
    replica = EnsembleReplica()
    await replica.reconfigure(version(tmp_path, 2))
    assert await serving(replica) == 2


async def test_a_version_that_cannot_be_loaded_raises_only_where_nothing_else_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replica = EnsembleReplica()
    with pytest.raises(Refused, match="artifact_missing"):
        await replica.reconfigure(broken(tmp_path, 1))
    await replica.reconfigure(version(tmp_path, 1))
    await replica.reconfigure(broken(tmp_path, 2))
    assert await serving(replica) == 1
    assert "goes on" in caplog.text


async def test_what_was_staged_for_another_version_is_not_taken_over(tmp_path: Path) -> None:
    replica = EnsembleReplica()
    await replica.stage(version(tmp_path, 1))
    await replica.reconfigure(version(tmp_path, 2))
    assert await serving(replica) == 2


async def test_a_promoted_version_is_heard_differently_at_once(tmp_path: Path) -> None:
    replica, shadow = EnsembleReplica(), version(tmp_path, 1) | {"mode": "shadow"}
    await replica.reconfigure(shadow)
    await replica.reconfigure(shadow | {"mode": "live"})
    assert (await replica.answer(BATCH)).served.mode == "live"


async def test_calls_are_answered_while_another_version_is_staged(tmp_path: Path) -> None:
    replica, second = EnsembleReplica(), version(tmp_path, 2)
    await replica.reconfigure(version(tmp_path, 1))
    staging = asyncio.create_task(replica.stage(second))
    await asyncio.sleep(0)
    assert (await replica.answer(BATCH)).served.version == 1
    assert not staging.done()
    assert await staging == ()

"""A batch's way through an agent: what is waited for, and what ends the worker."""

import asyncio
from collections.abc import Sequence

import pytest
from pydantic import TypeAdapter

from orchestrator.store.errors import DatabaseAway
from schemas.base import Name
from schemas.topics import FEATURE_TICKS
from streams import worker
from streams.publisher import NotDelivered
from streams.source import Batch, Record
from streams.worker import carry_out, instance_name
from tests.unit.streams.fakes import record


def batch() -> Batch:
    return Batch((record(b"1"), record(b"2", 1)), asyncio.get_running_loop().create_future())


async def test_a_batch_that_was_taken_is_finished() -> None:
    taken: list[Record] = []

    async def take(records: Sequence[Record]) -> None:
        taken.extend(records)

    given = batch()
    await carry_out(given, FEATURE_TICKS, take)
    assert given.finished.result() is None
    assert taken == [*given.records]


@pytest.mark.parametrize("passing", [NotDelivered(["signals"], 1, "no answer"), DatabaseAway("sqlite", "disk full")])
async def test_a_broker_and_a_database_that_do_not_answer_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, passing: Exception
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0)
    attempts = 0

    async def take(records: Sequence[Record]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise passing

    given = batch()
    await carry_out(given, FEATURE_TICKS, take)
    assert attempts == 4
    assert given.finished.result() is None


async def test_anything_else_fails_the_batch_with_its_cause() -> None:
    async def take(records: Sequence[Record]) -> None:
        raise LookupError("gone")

    given = batch()
    await carry_out(given, FEATURE_TICKS, take)
    with pytest.raises(LookupError, match="gone"):
        given.finished.result()


async def test_a_batch_that_is_given_up_is_neither_finished_nor_failed_by_what_comes_later() -> None:
    given = batch()
    given.finished.cancel()
    given.succeed()
    given.fail(LookupError("too late"))
    assert given.finished.cancelled()


def test_a_worker_s_name_on_the_wire_is_one_whatever_its_machine_is_called() -> None:
    names = [instance_name(f"{host}:7:ab{number}") for host in ("a.b_c-d", "x" * 90, "é") for number in (1, 2)]
    assert all(TypeAdapter(Name).validate_python(name) for name in names)
    assert len({*names}) == len(names)

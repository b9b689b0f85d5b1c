"""Dead letters on a real broker: found by their place, listed, shown and sent again."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from typer.testing import CliRunner, Result

from orchestrator.core.resuming import EVERYTHING
from orchestrator.store.database import Database
from schemas.base import Reason
from schemas.commands import ResendDeadLetter
from schemas.topics import COMMANDS
from streams import ordering
from streams.cli import app
from streams.commanding import Commands
from streams.dead_letters import dead_letter
from streams.letters import newest, record_at
from streams.publisher import Publisher
from streams.reader import TopicReader
from streams.resending import Resending
from streams.source import Record
from tests.unit.streams.test_cli_fingerprints import on, url
from tests.unit.streams.test_judging import JUDGE

__all__ = ["url"]
pytestmark = pytest.mark.slow

LETTERS = COMMANDS.dead_letters
ORIGINAL = Record("commands", 0, 4711, b"all", b'{"control": "stop"}\xff', (("ce_id", b"x-1"),))


@pytest.fixture(scope="module")
def buried(kafka_config: dict[str, Any]) -> list[int]:
    """Offsets of two dead letters, of which the second holds `ORIGINAL`."""
    first = ORIGINAL._replace(offset=4710, key=None, value=None)
    reasons = [Reason(code="schema", where="/command", message="it is no command")]

    async def bury() -> None:
        publisher = Publisher(kafka_config)
        await publisher.publish([dead_letter(each, reasons, datetime.now(UTC)) for each in (first, ORIGINAL)])
        await publisher.close()

    asyncio.run(bury())
    found = [each for each in newest(kafka_config, 10) if each.came_from == "commands"]
    assert [each.its_offset for each in found[:2]] == [4711, 4710]
    return sorted(each.offset for each in found[:2])


def run(config: dict[str, Any], *arguments: str) -> Result:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": config["bootstrap.servers"], "COLUMNS": "300"}
    return CliRunner().invoke(app, ["dead-letters", *arguments], env=environment)


def test_a_letter_is_found_by_its_place_and_nothing_where_none_lies(
    kafka_config: dict[str, Any], buried: list[int]
) -> None:
    found = record_at(kafka_config, LETTERS, 0, buried[1])
    assert found is not None
    assert (found.key, found.value) == (ORIGINAL.key, ORIGINAL.value)
    for place in ((0, buried[1] + 1), (0, 2**40), (7, 0)):
        assert record_at(kafka_config, LETTERS, *place) is None
    assert newest(kafka_config, 1)[0].offset == buried[1]


def test_they_are_listed_and_shown(kafka_config: dict[str, Any], buried: list[int], url: str) -> None:
    offset = str(buried[1])
    listed = run(kafka_config, "list", "--topic", "commands", "--limit", "1").stdout.splitlines()
    assert listed[1].split()[:3] == [LETTERS, "0", offset]
    assert "it is no command" in listed[1]
    shown = run(kafka_config, "show", "0", offset, "--topic", LETTERS).stdout
    assert "from commands 0 4711" in shown
    assert '{"control": "stop"}\\xff' in shown
    [document] = run(kafka_config, "list", "--topic", LETTERS, "--limit", "1", "--json").stdout.splitlines()
    assert json.loads(document)["reasons"][0]["where"] == "/command"
    assert run(kafka_config, "show", "0", str(2**40), "--topic", "commands").exit_code == 1
    assert run(kafka_config, "list", "--topic", "signals").exit_code == 2


def test_what_is_sent_again_is_on_its_topic_as_it_was(
    kafka_config: dict[str, Any], buried: list[int], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is produced, and carried out here as the agent does."""

    def carry_out(config: dict[str, Any], command: ResendDeadLetter, source: str = "") -> None:
        async def take(database: Database) -> None:
            publisher = Publisher(kafka_config)
            resending = Resending(lambda *place: record_at(kafka_config, *place), publisher)
            commands = Commands(
                database=database,
                publisher=publisher,
                clock=lambda: datetime.now(UTC),
                may_resume=EVERYTHING,
                resending=resending,
                override="paper",
                judge=JUDGE,
                on_change=lambda: None,
            )
            value = command.model_dump_json().encode()
            await commands.take([Record(COMMANDS.name, 0, 0, None, value)])
            await publisher.close()

        on(url, take)

    monkeypatch.setattr(ordering, "produce_command", carry_out)
    result = run(kafka_config, "resend", "0", str(buried[1]), "--topic", "commands")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "sent again to commands"), result.output
    with TopicReader(kafka_config, [COMMANDS]) as reader:
        last = reader.read_to_end()[-1]
    assert (last.key, last.value, last.headers) == (ORIGINAL.key, ORIGINAL.value, ORIGINAL.headers)
    refused = run(kafka_config, "resend", "0", str(2**40), "--topic", "commands")
    assert (refused.exit_code, "there is nothing at commands.dlq" in refused.stderr) == (1, True)


def test_a_service_that_does_not_run_is_told(
    kafka_config: dict[str, Any], buried: list[int], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(database: Database) -> None: ...

    on(url, nothing)
    monkeypatch.setattr(ordering, "produce_command", lambda *_: None)
    monkeypatch.setitem(cast(Any, ordering.settle).__kwdefaults__, "patience", 0.0)
    result = run(kafka_config, "resend", "0", "0", "--topic", "commands")
    assert (result.exit_code, "carried out when the service runs" in result.stderr) == (1, True)

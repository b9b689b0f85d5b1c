"""`orchestrator fingerprints` on a real store."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result

from orchestrator.store import fingerprints, trials
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint
from streams.cli import app
from tests.contracts.store.makers import NOW, completed, digest, everything, founded, planned

T = TypeVar("T")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db"


def on(url: str, ask: Callable[[Database], Awaitable[T]]) -> T:
    """What a store answers, in a loop of its own as the commands have theirs."""

    async def answer() -> T:
        database = Database.open(url)
        try:
            await database.upgrade()
            return await ask(database)
        finally:
            await database.close()

    return asyncio.run(answer())


async def two_searched(db: Database) -> None:
    """Two experiments, `mine` and `yours`, with two and one result that are known."""
    for number, (name, count) in enumerate((("mine", 2), ("yours", 1)), start=1):
        await founded(db, number, name=name)
        async with db.transaction() as tx:
            await trials.plan(tx, name, planned(count), NOW)
            await trials.finish(tx, name, [completed(each.trial) for each in planned(count)], NOW)
            rows = [Fingerprint(digest(10 * number + place), name, f"t{place:05d}", 1, True) for place in range(count)]
            await fingerprints.record(tx, rows, NOW)


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["fingerprints", *arguments], input=answer)


def known(url: str) -> int:
    return len(on(url, everything)["fingerprints"])


def test_it_says_how_much_is_known(url: str) -> None:
    on(url, two_searched)
    result = run("stats")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:3] == ["3", "2", "0"]


def test_it_lists_what_an_experiment_has_trained(url: str) -> None:
    on(url, two_searched)
    lines = run("list", "mine").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["trial", "t00000", "t00001"]
    assert lines[1].endswith(digest(10))
    assert run("list", "nobody").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "answer", "left"),
    [
        (["mine"], "y\n", 1),
        (["mine"], "n\n", 3),
        (["mine"], None, 3),
        (["mine", "--yes"], None, 1),
        (["--all"], "y\n", 0),
        (["--all"], "n\n", 3),
        (["--all", "--yes"], None, 0),
        (["nobody", "--yes"], None, 3),
        ([], None, 3),
        (["mine", "--all", "--yes"], None, 3),
    ],
)
def test_clearing_asks_first_and_forgets_only_what_it_was_told_to(
    url: str, arguments: list[str], answer: str | None, left: int
) -> None:
    on(url, two_searched)
    before = on(url, everything)
    result = run("clear", *arguments, answer=answer)
    assert known(url) == left
    assert (result.exit_code == 0) is (left < 3)
    after = on(url, everything)
    assert {**after, "fingerprints": []} == {**before, "fingerprints": []}


def test_where_there_is_no_database_none_is_made(url: str, tmp_path: Path) -> None:
    for arguments in (("stats",), ("list", "mine"), ("clear", "--all", "--yes")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "orchestrator up" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_told_of_and_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "orchestrator.db").write_bytes(b"no database at all" * 100)
    result = run("stats")
    assert result.exit_code == 1
    assert "no SQLite database" in result.stderr
    assert (tmp_path / "orchestrator.db").read_bytes() == b"no database at all" * 100

"""What readiness depends on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.store.database import Database
from streams import checks, ports
from streams.progress import STANDSTILL, Progress
from streams.run_folder import RunFolder
from tests.waiting import connections_end

NOW = datetime(2026, 1, 15, 21, tzinfo=UTC)


async def test_a_broker_that_is_not_there_is_named_with_its_address() -> None:
    address = f"127.0.0.1:{ports.free()}"
    fault = await checks.broker_answers({"bootstrap.servers": address})()
    assert fault is not None
    assert fault.startswith(f"no answer from Kafka at {address}")


async def test_a_store_that_answers_is_there(tmp_path: Path) -> None:
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db")
    await database.upgrade()
    assert await checks.store_answers(database)() is None
    await database.close()


async def test_a_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/nowhere/orchestrator.db")
    fault = await checks.store_answers(database)()
    await database.close()
    await connections_end()
    assert fault is not None
    assert "database" in fault


async def test_something_that_listens_where_ray_is_answers() -> None:
    with ports.bind(0) as listening:
        assert await checks.ray_answers(f"127.0.0.1:{listening.getsockname()[1]}")() is None


async def test_nothing_that_listens_where_ray_is_does_not() -> None:
    fault = await checks.ray_answers(f"ray://127.0.0.1:{ports.free()}")()
    assert fault is not None
    assert "no answer from Ray" in fault


async def test_a_worker_must_run_speak_and_move(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    now = NOW
    check = checks.worker_moves(folder, lambda: now)
    assert await check() == "the worker does not run, or is not ready"
    folder.mark_ready("worker")
    assert await check() == "the worker has not said how far it is"
    progress = Progress.first(5, 3, NOW)
    folder.mark_progress(progress)
    assert await check() is None
    now = NOW + STANDSTILL + timedelta(seconds=1)
    folder.mark_progress(progress.then(5, 3, now))
    fault = await check()
    assert fault is not None
    assert "has not moved" in fault

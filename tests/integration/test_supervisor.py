"""The supervisor keeps its children going, in order, and says whether all went well. Its children are small scripts."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streams.backoff import Backoff
from streams.child import CannotStart, Facts, Launch, alive
from streams.ports import NoFreePort
from streams.run_folder import FolderInUse, RunFolder
from streams.supervisor import ChildFailed, Supervisor
from tests.integration.scripts import Script
from tests.waiting import eventually

pytestmark = pytest.mark.slow

QUICK = Backoff(first=0.01, longest=0.02, failures=3)


class Heard:
    """What a supervisor reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, sentence: str) -> None:
        self.lines.append(f"{name} {sentence}")

    def index(self, line: str) -> int:
        return self.lines.index(line)


async def test_a_stage_starts_when_the_one_before_is_ready_and_stops_before_it(tmp_path: Path) -> None:
    heard, folder = Heard(), RunFolder(tmp_path)
    stages = [[Script("broker", folder), Script("ray", folder)], [Script("worker", folder)], [Script("api", folder)]]
    async with Supervisor(stages, folder, report=heard):
        assert all(folder.running(name) for name in ("broker", "ray", "worker", "api"))
    order = [
        *("broker is ready", "worker starts", "worker is ready", "api starts", "api is ready"),
        *("api has ended", "worker has ended", "broker has ended"),
    ]
    assert [line for line in heard.lines if line in order] == order
    assert heard.index("ray is ready") < heard.index("worker starts")
    assert heard.index("worker has ended") < heard.index("ray has ended")
    assert not any(folder.running(name) for name in ("broker", "ray", "worker", "api"))


async def test_a_child_that_crashes_is_started_again(tmp_path: Path) -> None:
    heard, folder = Heard(), RunFolder(tmp_path)
    worker = Script("worker", folder)
    async with Supervisor([[worker]], folder, report=heard, backoff=QUICK) as supervisor:
        first = pid_of(folder, "worker")
        os.kill(first, signal.SIGKILL)
        await supervisor.watch(until=started_again(folder, "worker", first))
    assert "worker ended with signal 9; it starts again in 0.01 s" in heard.lines


async def test_a_child_that_keeps_crashing_is_given_up_loudly(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    worker = Script("worker", folder, "raise SystemExit(3)")
    with pytest.raises(ChildFailed, match="worker is given up: ended with code 3"):
        async with Supervisor([[worker]], folder, report=Heard(), backoff=QUICK):
            pass
    assert worker.starts == QUICK.failures + 1


async def test_a_child_with_wrong_settings_is_not_started_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    worker = Script("worker", folder, "raise SystemExit(2)")
    with pytest.raises(ChildFailed, match="ended with code 2"):
        async with Supervisor([[worker]], folder, report=Heard(), backoff=QUICK):
            pass
    assert worker.starts == 1


@pytest.mark.parametrize(("code", "ends_with"), [(2, 2), (3, 1)])
async def test_wrong_settings_of_a_child_are_the_supervisor_s_own(tmp_path: Path, code: int, ends_with: int) -> None:
    folder = RunFolder(tmp_path)
    worker = Script("worker", folder, f"raise SystemExit({code})")
    once = Backoff(first=0, failures=0)
    assert await Supervisor([[worker]], folder, report=Heard(), backoff=once).run() == ends_with


async def test_a_child_that_cannot_start_is_given_up_at_once_with_its_own_words(tmp_path: Path) -> None:
    class Impossible(Script):
        def prepare(self, say: Callable[[str], None]) -> Launch:
            raise CannotStart("set KAFKA_BOOTSTRAP_SERVERS")

    folder = RunFolder(tmp_path)
    ray = Script("ray", folder)
    with pytest.raises(ChildFailed, match="broker is given up: set KAFKA_BOOTSTRAP_SERVERS"):
        async with Supervisor([[Impossible("broker", folder), ray]], folder, report=Heard()):
            pass
    assert folder.running("ray") is None


async def test_a_child_that_does_not_become_ready_is_given_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    worker = Script("worker", folder, "import time; time.sleep(600)", patience=0.05)
    with pytest.raises(ChildFailed, match=r"was not ready within 0\.05 s"):
        async with Supervisor([[worker]], folder, report=Heard(), backoff=Backoff(first=0, failures=1)):
            pass


async def test_children_are_started_again_when_what_they_depend_on_has_changed(tmp_path: Path) -> None:
    class Moving(Script):
        def ready(self, launch: Launch, pid: int) -> Facts | None:
            facts = super().ready(launch, pid)
            return None if facts is None else {"address": self.starts}

    heard, folder = Heard(), RunFolder(tmp_path)
    ray, worker = Moving("ray", folder), Script("worker", folder)
    async with Supervisor([[ray], [worker]], folder, report=heard, backoff=QUICK) as supervisor:
        first = pid_of(folder, "worker")
        os.kill(pid_of(folder, "ray"), signal.SIGKILL)
        await supervisor.watch(until=started_again(folder, "worker", first))
        assert folder.require("ray") == {"address": 2}
    assert "worker starts again, since what it depends on has changed" in heard.lines


async def test_children_go_on_when_what_they_depend_on_comes_back_the_same(tmp_path: Path) -> None:
    heard, folder = Heard(), RunFolder(tmp_path)
    broker, worker = Script("broker", folder), Script("worker", folder)
    async with Supervisor([[broker], [worker]], folder, report=heard, backoff=QUICK) as supervisor:
        first, before = pid_of(folder, "broker"), pid_of(folder, "worker")
        os.kill(first, signal.SIGKILL)
        await supervisor.watch(until=started_again(folder, "broker", first))
        assert pid_of(folder, "worker") == before
    assert worker.starts == 1


async def test_a_second_copy_on_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    worker = Script("worker", folder)
    async with Supervisor([[worker]], folder, report=Heard()):
        second = Supervisor([[Script("worker", folder)]], RunFolder(tmp_path), report=Heard())
        with pytest.raises(FolderInUse):
            await second.run()
        with pytest.raises(FolderInUse):
            async with second:
                pass
        assert folder.running("worker") is not None
        assert worker.laid_down.exists()
    assert not worker.laid_down.exists()


@pytest.mark.parametrize("error", [OSError("no space left on device"), NoFreePort("127.0.0.1", 9092)])
async def test_a_child_that_could_not_be_prepared_is_started_again(tmp_path: Path, error: Exception) -> None:
    class Hindered(Script):
        def prepare(self, say: Callable[[str], None]) -> Launch:
            launch = super().prepare(say)
            if self.starts < 3:
                raise error
            return launch

    heard, folder = Heard(), RunFolder(tmp_path)
    async with Supervisor([[Hindered("broker", folder)]], folder, report=heard, backoff=QUICK):
        assert folder.running("broker") is not None
    assert f"broker cannot go on: {error}; it starts again in 0.01 s" in heard.lines


async def test_a_child_that_cannot_be_cleared_up_after_keeps_none_of_the_others_running(tmp_path: Path) -> None:
    class Clinging(Script):
        def clear(self) -> None:
            raise OSError("no space left on device")

    heard, folder = Heard(), RunFolder(tmp_path)
    async with Supervisor([[Script("broker", folder)], [Clinging("worker", folder)]], folder, report=heard):
        pass
    told = ["worker has ended", "worker cannot be cleared up after: no space left on device", "broker has ended"]
    assert [line for line in heard.lines if line in told] == told
    with folder.owned():
        pass


async def test_a_child_that_cannot_be_stopped_keeps_none_of_the_others_running_and_is_told_of(tmp_path: Path) -> None:
    class Broken(Script):
        def clear(self) -> None:
            raise LookupError("a fault in this program")

    folder = RunFolder(tmp_path)
    with pytest.raises(ExceptionGroup) as faults:
        async with Supervisor([[Script("broker", folder)], [Broken("worker", folder)]], folder, report=Heard()):
            pass
    assert [str(each) for each in faults.value.exceptions] == ["a fault in this program"]
    assert folder.running("broker") is None
    with folder.owned():
        pass


def test_sigterm_drains_in_order_and_the_exit_code_is_good(tmp_path: Path) -> None:
    with supervised(tmp_path) as supervisor:
        supervisor.terminate()
        said = rest_of(supervisor)
    assert supervisor.returncode == 0
    assert said == ["worker has ended", "broker has ended"]


def test_a_child_that_must_be_killed_gives_a_bad_exit_code(tmp_path: Path) -> None:
    with supervised(tmp_path, "deaf") as supervisor:
        supervisor.send_signal(signal.SIGINT)
        said = rest_of(supervisor)
    assert supervisor.returncode == 1
    assert said == ["worker was killed before it ended by itself", "broker has ended"]


def test_a_second_signal_does_not_wait_for_those_that_drain(tmp_path: Path) -> None:
    with supervised(tmp_path, "patient") as supervisor:
        worker = psutil.Process(pid_of(RunFolder(tmp_path), "worker"))
        supervisor.send_signal(signal.SIGINT)
        eventually(lambda: "asked" in RunFolder(tmp_path).log("worker").read_text())
        supervisor.send_signal(signal.SIGINT)
        rest_of(supervisor)
    assert not alive(worker)


def test_children_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with supervised(tmp_path) as supervisor:
        children = [psutil.Process(pid_of(folder, name)) for name in ("broker", "worker")]
        supervisor.kill()
    eventually(lambda: not any(map(alive, children)))
    with folder.owned():
        pass


def supervised(data_dir: Path, kind: str = "good") -> "subprocess.Popen[str]":
    """A supervisor in a process of its own, all of its children ready."""
    command = [sys.executable, "-m", "tests.integration.scripts", str(data_dir), kind]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    for line in supervisor.stdout:
        if line == "ready\n":
            return supervisor
    raise AssertionError("it ended before its children were ready")


def rest_of(supervisor: "subprocess.Popen[str]") -> list[str]:
    assert supervisor.stdout is not None
    return supervisor.stdout.read().splitlines()


def started_again(folder: RunFolder, name: str, first: int) -> asyncio.Event:
    """Set once the child runs as another process than the first."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def look() -> None:
        record = folder.running(name)
        if record is None or record.pid == first:
            loop.call_later(0.01, look)
        else:
            done.set()

    look()
    return done


def pid_of(folder: RunFolder, name: str) -> int:
    record = folder.running(name)
    assert record is not None
    return record.pid

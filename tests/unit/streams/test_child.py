"""Child processes end when they should, and with all that they started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streams import child as child_module
from streams.child import Launch, Spawned, alive
from tests.waiting import eventually

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time\n"
    f"print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session={{apart}}).pid, flush=True)\n"
    "time.sleep(600)"
)


def spawn(code: str, log: Path) -> Spawned:
    return Spawned(Launch((sys.executable, "-c", code), dict(os.environ)), log)


def test_its_output_goes_to_its_log(tmp_path: Path) -> None:
    child = spawn("import sys; print('out'); print('err', file=sys.stderr)", tmp_path / "logs" / "child.log")
    eventually(lambda: child.code() == 0)
    assert sorted((tmp_path / "logs" / "child.log").read_text().split()) == ["err", "out"]


def test_it_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    child = spawn(SLEEP, tmp_path / "log")
    assert child.stop(grace=60)
    assert child.code() == -signal.SIGTERM


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = spawn(STUBBORN, tmp_path / "log")
    eventually(lambda: "deaf" in (tmp_path / "log").read_text())
    assert not child.stop(grace=0.1)
    assert child.code() == -signal.SIGKILL


def test_stopping_one_that_has_ended_is_no_error(tmp_path: Path) -> None:
    child = spawn("", tmp_path / "log")
    eventually(lambda: child.code() == 0)
    assert child.stop(grace=60)


@pytest.mark.parametrize("apart", [False, True])
def test_what_it_started_ends_with_it(tmp_path: Path, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "STRAGGLER_SECONDS", 0.1)
    child = spawn(PARENT.format(apart=apart), tmp_path / "log")
    eventually(lambda: (tmp_path / "log").read_text().strip() != "")
    grandchild = psutil.Process(int((tmp_path / "log").read_text()))
    assert child.stop(grace=60)
    assert not alive(grandchild)


def test_it_dies_with_the_one_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from streams.child import Launch, Spawned\n"
        f"launch = Launch((sys.executable, '-c', {SLEEP!r}), dict(os.environ))\n"
        "print(Spawned(launch, pathlib.Path(sys.argv[1])).pid, flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        child = psutil.Process(int(starter.stdout.readline()))
        assert child.is_running()
        starter.kill()
    eventually(lambda: not alive(child))


def test_a_log_that_has_grown_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (17 * 1024 * 1024))
    child = spawn("print('new')", log)
    eventually(lambda: child.code() == 0)
    assert log.read_text().strip() == "new"
    assert (tmp_path / "log.1").stat().st_size == 17 * 1024 * 1024

"""Fixtures for every test: a broker, a Ray head, and the proof that nothing is left running."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from streams.child import alive

pytest_plugins = ("tests.broker", "tests.postgres", "tests.ray_cluster")

# No test asserts on time, and a busy machine makes a slow example of any.
settings.register_profile("thorough", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=10)
settings.load_profile("thorough")

MARK = "RAY_ORCHESTRATOR_TESTS"
SHARING = ("integration", "e2e")
LEAVING_SECONDS = 20.0

# Ray reads these when it is imported, which test modules do: its daemons on the loopback, no talk with the outside.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# The token of the session's head, which this process is a client of.
TOKEN = Path(tempfile.mkdtemp(prefix="ro-tests-")) / "token"
TOKEN.write_text(secrets.token_hex(32))
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(TOKEN)
# Whatever a test starts inherits this, so that it is found even when it has lost its parent.
os.environ[MARK] = secrets.token_hex(8)


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Side by side, what shares a broker, a Ray head or a service stays in one process."""

    def _split_scope(self, nodeid: str) -> str:
        kind = nodeid.split("/")[1]
        return kind if kind in SHARING else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    """How tests are shared out where there are several processes."""
    return Sharing(config, log)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fails the session if a process that it started outlives it; such a process is killed."""
    yield
    shutil.rmtree(TOKEN.parent)
    deadline = time.monotonic() + LEAVING_SECONDS
    while (left := started_here()) and time.monotonic() < deadline:
        time.sleep(0.1)
    found = [f"{process.pid} {' '.join(process.cmdline())[:200]}" for process in left]
    for process in left:
        process.kill()
    assert not found, "left running:\n" + "\n".join(found)


def started_here() -> list[psutil.Process]:
    """The live processes that this session started, directly or not."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and is_ours(process)]


def is_ours(process: psutil.Process) -> bool:
    try:
        return process.environ().get(MARK) == os.environ[MARK] and alive(process)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False

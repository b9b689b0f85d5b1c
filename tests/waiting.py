"""Waiting for something to become true, in tests of processes."""

import time
from collections.abc import Callable

PATIENCE = 60.0


def eventually(true: Callable[[], bool]) -> None:
    """Return when it is true; fail when it has not become true in a minute."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)

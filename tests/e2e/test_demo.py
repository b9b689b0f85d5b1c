"""The demo as a stranger runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import started_here

pytestmark = pytest.mark.slow


def test_the_demo_ends_well_with_one_signal_for_each_tick_and_leaves_nothing_running(tmp_path: Path) -> None:
    before = {process.pid for process in started_here()}
    played = subprocess.run(
        [str(Path(sys.executable).with_name("orchestrator")), "demo"],
        env=os.environ | {"DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    last = json.loads(played.stdout.splitlines()[-1])
    assert set(last) == {"signals", "ticks", "trials", "seconds", "deflated_sharpe"}
    assert last["signals"] == last["ticks"] >= 600
    assert last["trials"] > 0
    assert "0 of them twice" in played.stdout
    assert {process.pid for process in started_here()} <= before
    assert list(tmp_path.iterdir()) == []

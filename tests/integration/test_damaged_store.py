"""A damaged database: the service does not start on it, says so, and leaves it as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("command", ["up", "worker"])
def test_the_service_refuses_a_damaged_database_and_says_what_to_do(tmp_path: Path, command: str) -> None:
    file = tmp_path / "orchestrator.db"
    file.write_bytes(bytes(range(256)) * 64)
    ended = subprocess.run(
        [sys.executable, "-m", "streams.cli", command],
        env={**os.environ, "DATA_DIR": str(tmp_path), "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no SQLite database" in ended.stderr
    assert "Put back a backup" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_bytes() == bytes(range(256)) * 64

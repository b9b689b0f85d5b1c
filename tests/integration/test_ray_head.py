"""The Ray head of a data folder: on the loopback, behind its token, and gone with its starter."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streams.alone import running
from streams.child import Facts, alive
from streams.ray_head import RayHead, client_environment
from streams.run_folder import RunFolder
from streams.settings import Settings
from tests.waiting import eventually

pytestmark = pytest.mark.slow

STARTER = """
import os, pathlib, sys
from streams.alone import running
from tests.integration.test_ray_head import head
with running(*head(pathlib.Path(sys.argv[1]))) as (_, spawned):
    print(spawned.pid, flush=True)
    input()
"""
IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "1"}
TASK = """
import os, ray
ray.init(address={address!r}, log_to_driver=False, logging_level="ERROR")
@ray.remote
def niceness():
    return os.nice(0)
print(ray.get(niceness.remote()))
"""


def head(data_dir: Path) -> tuple[RayHead, RunFolder]:
    folder = RunFolder(data_dir)
    return RayHead(folder, Settings.read({"RAY_DASHBOARD_PORT": "0", "DATA_DIR": str(data_dir)}), os.environ), folder


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def ask(address: str, folder: RunFolder, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a client in another process gets."""
    return subprocess.run(
        [sys.executable, "-c", TASK.format(address=address)],
        env=dict(os.environ) | client_environment(folder) | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_head_serves_its_clients_on_the_loopback_beside_another_and_leaves_nothing(
    tmp_path: Path, ray_head: Facts
) -> None:
    child, folder = head(tmp_path)
    with running(child, folder) as (facts, spawned):
        assert facts["address"] != ray_head["address"]
        answer = ask(str(facts["address"]), folder)
        assert answer.stdout == "0\n", answer.stderr
        started = family(spawned.pid)
        listening = {place.laddr.ip for each in started for place in each.net_connections() if place.status == "LISTEN"}
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert not any(map(alive, started))
    assert not child.sockets.exists()
    assert (folder.ray / "logs" / "gcs_server.out").exists()


def test_a_client_without_the_token_is_refused(tmp_path: Path, ray_head: Facts) -> None:
    (tmp_path / "token").write_text("0" * 64)
    answer = ask(
        str(ray_head["address"]), RunFolder(tmp_path), RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"), **IMPATIENT
    )
    assert answer.returncode != 0
    assert answer.stdout == ""


def test_a_head_dies_with_its_starter_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        started = family(int(starter.stdout.readline()))
        starter.kill()
    eventually(lambda: not any(map(alive, started)))
    child, _ = head(tmp_path)
    child.clear()
    assert not child.sockets.exists()

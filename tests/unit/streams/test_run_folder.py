"""What a running copy records, and who may have a data folder."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from streams.progress import Progress
from streams.run_folder import FolderInUse, NotRunning, RunFolder


def test_a_ready_child_is_found_with_its_facts(tmp_path: Path) -> None:
    RunFolder(tmp_path).mark_ready("worker", {"address": "here", "port": 7})
    assert RunFolder(tmp_path).require("worker") == {"address": "here", "port": 7}


def test_a_child_that_has_ended_does_not_run_but_its_record_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        folder.mark_ready("broker", {"bootstrap": "127.0.0.1:9092"}, pid=child.pid)
        assert folder.running("broker") is not None
    assert folder.running("broker") is None
    record = folder.recorded("broker")
    assert record is not None
    assert record.facts == {"bootstrap": "127.0.0.1:9092"}
    with pytest.raises(NotRunning, match="no broker runs on"):
        folder.require("broker")


def test_a_process_that_was_given_the_same_number_is_not_taken_for_the_child(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.mark_ready("worker")
    path = tmp_path / "run" / "worker.json"
    born = json.loads(path.read_text())["born"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": born - 60}))
    assert folder.running("worker") is None


def test_a_child_is_still_found_when_the_clock_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.mark_ready("worker")
    # The kernel tells when it started by today's clock: setting that moves when every process was born.
    before = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: before + 3600.0)
    assert folder.running("worker") is not None


def test_a_process_of_another_start_of_the_machine_is_not_taken_for_the_child(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.mark_ready("worker")
    path = tmp_path / "run" / "worker.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    assert folder.running("worker") is None


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).owned(),
        pytest.raises(FolderInUse, match="in use by another running copy"),
        RunFolder(tmp_path).owned(),
    ):
        pass
    with RunFolder(tmp_path).owned():
        pass


def test_two_folders_have_two_owners(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "one").owned(), RunFolder(tmp_path / "two").owned():
        pass


def test_an_owner_that_is_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from streams.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).owned(): print('mine', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(FolderInUse), RunFolder(tmp_path).owned():
            pass
        other.kill()
    with RunFolder(tmp_path).owned():
        pass


def test_progress_is_found_as_it_was_said(tmp_path: Path) -> None:
    progress = Progress.first(7, 3, datetime(2026, 1, 15, tzinfo=UTC))
    folder = RunFolder(tmp_path)
    assert folder.progress() is None
    folder.mark_progress(progress)
    assert folder.progress() == progress

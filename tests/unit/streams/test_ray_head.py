"""What a Ray head leaves behind; the head itself is started in the integration tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.children import stages
from streams.ray_head import RayHead
from streams.run_folder import RunFolder
from streams.settings import Settings


@pytest.fixture
def head(tmp_path: Path) -> Iterator[RayHead]:
    """A head that has ended, and has left logs and sockets."""
    left = RayHead(RunFolder(tmp_path / "data"), Settings.read({"DATA_DIR": str(tmp_path / "data")}), {})
    session = left.sockets / "r" / "session_2026"
    (session / "logs").mkdir(parents=True)
    (session / "logs" / "gcs_server.out").write_text("up")
    (left.sockets / "r" / "session_latest").symlink_to(session)
    yield left
    shutil.rmtree(left.sockets, ignore_errors=True)


def test_its_workers_are_not_given_the_service_s_secrets(tmp_path: Path) -> None:
    environment = {"DATA_DIR": str(tmp_path), "API_KEY": "a-key-of-the-tests", "LOG_LEVEL": "debug"}
    ((_, head),) = stages(Settings.read(environment), RunFolder(tmp_path), environment)
    assert isinstance(head, RayHead)
    try:
        launch = head.prepare(print)
        assert launch.environment["LOG_LEVEL"] == "debug"
        assert "a-key-of-the-tests" not in launch.environment.values()
    finally:
        shutil.rmtree(head.sockets, ignore_errors=True)


def test_its_logs_are_kept_and_all_else_is_removed(head: RayHead, tmp_path: Path) -> None:
    head.clear()
    assert (tmp_path / "data" / "ray" / "logs" / "gcs_server.out").read_text() == "up"
    assert not head.sockets.exists()


def test_logs_that_cannot_be_kept_keep_nothing_else_from_being_removed(head: RayHead, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ray").write_text("in the way")
    head.clear()
    assert not head.sockets.exists()

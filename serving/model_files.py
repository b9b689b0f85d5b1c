"""Files from outside: read whole, from below one folder, and from nowhere else."""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from orchestrator.core.errors import Refused
from schemas.base import Reason


class UnsafePath(Refused):
    """The path does not name a plain file below the folder."""


class OversizeFile(Refused):
    """The file is larger than is allowed."""


def read_below(root: Path, path: str, *, limit: int) -> bytes:
    """The content of a file below `root`.

    Each folder on the way, and the file, is opened from the one before it and without following links: what is put in
    its place meanwhile is not read either.

    Args:
        root: the folder; it may itself be reached through links.
        path: relative to it, or absolute and below it.
        limit: bytes that it may hold.

    Raises:
        UnsafePath: `..`, a path that leads elsewhere, a link, no plain file, or none at all.
        OversizeFile: it is larger.
    """
    parts = _parts(root, path)
    with ExitStack() as stack:
        below: int | None = None
        for number, part in enumerate((str(root), *parts)):
            last = number == len(parts)
            kind = os.O_NONBLOCK if last else os.O_DIRECTORY
            # The root is the operator's own choice.
            follow = 0 if number == 0 else os.O_NOFOLLOW
            try:
                below = os.open(part, os.O_RDONLY | os.O_CLOEXEC | kind | follow, dir_fd=below)
            except OSError as error:
                raise _unopened(root, parts[:number], error) from None
            stack.callback(os.close, below)
        assert below is not None
        found = os.fstat(below)
        if not stat.S_ISREG(found.st_mode):
            raise _unsafe("not_a_file", path, "it is a folder, a pipe or a device: only plain files are read")
        if found.st_nlink > 1:
            message = "the file has another name, which may be anywhere: copy it into the folder instead of linking it"
            raise _unsafe("link", path, message)
        return _read(below, path, limit)


def _read(descriptor: int, path: str, limit: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        message = f"it is larger than {limit >> 20} MiB: raise MODEL_MAX_MB, or train a smaller model"
        raise OversizeFile([Reason(code="oversize", where=path[:256], message=message)])
    return content


def _parts(root: Path, path: str) -> tuple[str, ...]:
    """The steps from the root to the file."""
    if "\0" in path:
        raise _unsafe("malformed_path", path.replace("\0", "?"), "it holds NUL")
    if ".." in path.split("/"):
        raise _unsafe("outside_root", path, "`..` is not followed: name the file by its path below the folder")
    found = PurePosixPath(path)
    if found.is_absolute():
        if not found.is_relative_to(root):
            raise _unsafe("outside_root", path, f"it is not below {root} (MODELS_DIR): copy the file there")
        found = found.relative_to(root)
    if not found.parts:
        raise _unsafe("not_a_file", path, "name a file")
    return found.parts


def _unopened(root: Path, parts: tuple[str, ...], error: OSError) -> UnsafePath:
    where = root.joinpath(*parts)
    if error.errno == errno.ENOENT:
        return _unsafe("no_such_file", str(where), "there is none: paths are relative to MODELS_DIR")
    if error.errno == errno.ELOOP or where.is_symlink():
        return _unsafe("link", str(where), "links are not followed: copy the file into the folder")
    if error.errno == errno.ENOTDIR:
        return _unsafe("not_a_file", str(where), "it is no folder")
    return _unsafe("unreadable", str(where), f"it cannot be opened: {error.strerror}")


def _unsafe(code: str, where: str, message: str) -> UnsafePath:
    return UnsafePath([Reason(code=code, where=where[:256], message=message)])

"""Where Ray Serve answers predictions: chosen when it is started, and recorded for whoever asks."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from streams import ports
from streams.locks import locked
from streams.run_folder import RunFolder
from streams.settings import Settings

log = structlog.get_logger(__name__)

NAME = "serve"


@contextmanager
def serve_address(settings: Settings, folder: RunFolder) -> Iterator[tuple[str, int]]:
    """A host and a port to start Ray Serve on, while no other copy of this user's chooses one.

    Serve's proxies would share a port with another copy's rather than fail. On a cluster that is not this copy's own,
    the port is the one of the settings: what is free there is not known here. Where neither the wanted port nor one of
    those after it is free, it is any: ticks are not to wait for it.
    """
    host, port = settings.serve_host, settings.serve_port
    if not settings.own_ray:
        yield host, port
        _record(folder, host, port)
        return
    with locked(Path(tempfile.gettempdir()) / f"ray-orchestrator-ports-{os.getuid()}", wait=True):
        before = folder.recorded(NAME)
        last = None if before is None or port else int(before.facts["port"])
        try:
            port = ports.free(port, before=last, host=host)
        except ports.NoFreePort as error:
            log.warning("serve_port_taken", error=str(error))
            port = ports.free(host=host)
        yield host, port
        _record(folder, host, port)


def served_at(folder: RunFolder) -> str | None:
    """The address of predictions, where this copy has started Ray Serve."""
    record = folder.recorded(NAME)
    return None if record is None else str(record.facts["url"])


def _record(folder: RunFolder, host: str, port: int) -> None:
    folder.mark_ready(NAME, {"url": ports.url(host, port), "port": port})

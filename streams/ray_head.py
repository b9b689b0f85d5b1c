"""A Ray head of this data folder's own: on the loopback, behind a token, its daemons bound to one child process.

Ray is not imported here: the head is a command, and what its clients need is in their environment before they import
it.
"""

import hashlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from streams import ports
from streams.child import CannotStart, Facts, Launch
from streams.run_folder import RunFolder
from streams.settings import Settings

_SOCKET_PATH_LIMIT: Final = 103
"""Bytes of a Unix socket's path that every system allows."""
_SESSION_AND_SOCKET: Final = len("/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")


def address(settings: Settings, folder: RunFolder) -> str:
    """Where the Ray cluster is, for `ray.init(address=...)`.

    Raises:
        NotRunning: it is this data folder's own, and does not run.
    """
    return str(folder.require("ray")["address"]) if settings.own_ray else settings.ray_address


def client_environment(folder: RunFolder) -> dict[str, str]:
    """What a process must have in its environment, before it imports Ray, to reach this data folder's head."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder.ray / "token"),
        # Despite its name it is read everywhere: without it Ray replaces the loopback by an address others can reach.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A call of Serve's crosses no more threads than it must: each is waited for while another one computes.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    }


class RayHead:
    """The child that is `ray start --head --block`.

    Its facts: `address`, `dashboard` (a URL, or empty) and `session`, another one after each start, since a restarted
    head knows nothing of the one before.

    Args:
        folder: the copy it belongs to.
        settings: the dashboard's port and the object store's size.
        environment: what it inherits.
    """

    name = "ray"
    patience = 120.0
    grace = 20.0

    def __init__(self, folder: RunFolder, settings: Settings, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._environment = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
        self.sockets = _short_folder(folder.path)
        """Where Ray's sockets are while it runs."""
        self._temporary = self.sockets / "r"

    def prepare(self, say: Callable[[str], None]) -> Launch:
        """Choose its ports, and see that there are a token and a folder for its sockets.

        Raises:
            CannotStart: the folder for its sockets belongs to somebody else.
        """
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.is_symlink() or self.sockets.stat().st_uid != os.getuid():
            raise CannotStart(
                f"{self.sockets} belongs to another user; remove it, or set TMPDIR to a folder of your own"
            )
        self.clear()
        self.sockets.mkdir(mode=0o700)
        self._write_token()
        gcs, client_server, metrics = ports.several(3)
        dashboard = ports.free(self._settings.ray_dashboard_port) if self._settings.ray_dashboard_port else 0
        options = {
            "node-ip-address": ports.LOOPBACK,
            "port": gcs,
            # Ray starts this server wherever grpc is installed, on a fixed port unless told.
            "ray-client-server-port": client_server,
            # Nobody has workers' output shown: one daemon less to start.
            "include-log-monitor": "false",
            "object-manager-port": 0,
            "node-manager-port": 0,
            "min-worker-port": 0,
            "max-worker-port": 0,
            "dashboard-agent-listen-port": 0,
            "dashboard-agent-grpc-port": 0,
            "runtime-env-agent-port": 0,
            "metrics-export-port": 0,
            "include-dashboard": "true" if dashboard else "false",
            "dashboard-host": ports.LOOPBACK,
            "dashboard-port": dashboard or ports.free(),
            "object-store-memory": self._settings.ray_object_store_mb * 1024 * 1024,
            "temp-dir": self._temporary,
            "log-style": "record",
            "log-color": "false",
        }
        return Launch(
            command=(
                str(Path(sys.executable).with_name("ray")),
                "start",
                "--head",
                "--block",
                "--no-monitor",
                "--disable-usage-stats",
                *(f"--{name}={value}" for name, value in options.items()),
            ),
            environment=self._environment
            | client_environment(self._folder)
            | {
                # Ray would start its workers, Serve's replicas among them, at the lowest priority.
                "RAY_worker_niceness": "0",
                "DASHBOARD_METRIC_PORT": str(metrics),
                "RAY_enable_metrics_collection": "0",
                "RAY_BACKEND_LOG_LEVEL": "warning",
                "RAY_ROTATION_MAX_BYTES": str(16 * 1024 * 1024),
                "RAY_ROTATION_BACKUP_COUNT": "1",
                # One node has nowhere to drain to.
                "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            },
            # Asked to end it ends all of its daemons; when it is killed some of them outlive it for a minute.
            orphaned=signal.SIGTERM,
            facts={
                "address": f"{ports.LOOPBACK}:{gcs}",
                "dashboard": f"http://{ports.LOOPBACK}:{dashboard}" if dashboard else "",
                "session": secrets.token_hex(8),
            },
        )

    def ready(self, launch: Launch, pid: int) -> Facts | None:
        """Its facts once Ray has written where it is, which it does last."""
        return launch.facts if (self._temporary / "ray_current_cluster").exists() else None

    def clear(self) -> None:
        """Keep the session's logs in the data folder, and remove all else that Ray wrote."""
        logs = self._temporary / "session_latest" / "logs"
        # A disk that is full must not keep what fills it.
        with suppress(OSError):
            if logs.exists():
                kept = self._folder.ray / "logs"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(logs.resolve(), kept, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _write_token(self) -> None:
        self._folder.ray.mkdir(parents=True, exist_ok=True)
        token = self._folder.ray / "token"
        if not token.exists():
            with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(secrets.token_hex(32))


def _short_folder(data_dir: Path) -> Path:
    """A folder for the sockets of one data folder: the same after a restart, another for any other data folder."""
    name = f"ro-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]}"
    root = Path(tempfile.gettempdir()) / name
    if len(os.fsencode(root)) + _SESSION_AND_SOCKET > _SOCKET_PATH_LIMIT:
        root = Path("/tmp") / name
    return root

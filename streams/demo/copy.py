"""A copy of the service of a demo's own: on free ports, in a folder of its own, and gone when the demo is over."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Event
from typing import Generic, TypeVar

from streams.child import CannotStart
from streams.children import stages
from streams.display import Display
from streams.run_folder import RunFolder
from streams.service import PROGRAMS
from streams.settings import Settings
from streams.supervisor import ChildFailed, Supervisor

Feed = TypeVar("Feed")
Played = TypeVar("Played")


class DemoFailed(Exception):
    """The demo could not be played to its end; the message says where it broke off."""


def own_environment(environ: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """The settings of the demo's own copy: free ports, its own folder, and a gate that its request may turn off."""
    own = {
        "DATA_DIR": str(data_dir),
        "FEATURES_DIR": "",
        "DATABASE_URL": "",
        "RAY_ADDRESS": "",
        "RAY_DASHBOARD_PORT": "0",
        "KAFKA_PORT": "0",
        "API_PORT": "0",
        "SERVE_PORT": "0",
        "GATE_OVERRIDE": "live",
        "CALENDAR": "XNYS",
    }
    return dict(environ) | own


class Demo(Generic[Feed, Played]):
    """Something to play on a copy of the service.

    Args:
        display: where to show it.
        prepare: makes what is played, while the copy starts.
        line: plays it, in a thread of its own, and leaves when its last argument is set.
        show: shows what was played.
    """

    def __init__(
        self,
        display: Display,
        *,
        prepare: Callable[[Settings], Feed],
        line: Callable[[Display, Settings, RunFolder, Feed, Event], Played],
        show: Callable[[Display, Played], None],
    ) -> None:
        self._display = display
        self._prepare = prepare
        self._line = line
        self._show = show

    async def play(self, environ: Mapping[str, str], *, keep: bool) -> int:
        """Play it; the exit code.

        Args:
            environ: settings that are not the copy's own.
            keep: leave the service up with what was played, with REST and dashboard, until SIGINT or SIGTERM.
        """
        data_dir = Settings.read(environ).data_dir.absolute() / f"demo-{os.getpid()}"
        playing = asyncio.current_task()
        assert playing is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
        try:
            played = await self._played(own_environment(environ, data_dir), data_dir, keep=keep)
        except (DemoFailed, ChildFailed, CannotStart) as error:
            self._display.say(f"The demo broke off: {error}. Its logs are in {data_dir / 'logs'}.")
            return 1
        shutil.rmtree(data_dir, ignore_errors=True)
        if not keep:
            self._show(self._display, played)
        return 0

    async def _played(self, environ: Mapping[str, str], data_dir: Path, *, keep: bool) -> Played:
        display, settings, folder = self._display, Settings.read(environ), RunFolder(data_dir)
        programs = PROGRAMS if keep else ("worker",)
        supervisor = Supervisor(stages(settings, folder, environ, *programs), folder, report=lambda child, said: None)
        with display.activity("starting Kafka, Ray and the worker; computing features of real prices"):
            features = asyncio.ensure_future(asyncio.to_thread(self._prepare, settings))
            async with AsyncExitStack() as started:
                await started.enter_async_context(supervisor)
                feed = await features
                running = started.pop_all()
        stop = Event()
        async with running:
            try:
                line = asyncio.ensure_future(asyncio.to_thread(self._line, display, settings, folder, feed, stop))
                over = asyncio.Event()
                line.add_done_callback(lambda _: over.set())
                await supervisor.watch(until=over)
                played = await line
                if keep:
                    self._show(display, played)
                    await stay(display, supervisor, folder)
                return played
            finally:
                stop.set()
                display.say("stopping ...")


async def stay(display: Display, supervisor: Supervisor, folder: RunFolder) -> None:
    """Keep everything up until SIGINT or SIGTERM, and say where it is.

    Raises:
        ChildFailed: a child is given up.
    """
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    display.say(f"The dashboard: {folder.require('api')['url']}/")
    display.say(f"In another terminal: DATA_DIR={folder.path} orchestrator ensembles list")
    display.say("Ctrl-C ends it; nothing is left then.")
    await supervisor.watch(until=ended)

"""Keeps the children of one copy going: starts them in order, starts again what ends, stops them in the reverse order.

It speaks neither Ray nor Kafka: what is ready, and how a child starts, the children say themselves.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self

from streams import metrics
from streams.backoff import Backoff
from streams.child import CannotStart, Child, Facts, Launch, Report, Spawned
from streams.logs import keep_small
from streams.ports import NoFreePort
from streams.run_folder import RunFolder
from streams.tasks import cancel, in_thread

WRONG_SETTINGS: Final = 2
"""The exit code of a child whose settings or database are wrong: starting it again would not mend them."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_SECONDS: Final = 0.1
_LOG_SECONDS: Final = 60.0


class ChildFailed(Exception):
    """A child is given up.

    Attributes:
        name: the child.
        why: how it ended, the last time.
        code: its exit code then; None where it did not end by itself.
    """

    def __init__(self, name: str, why: str, code: int | None = None) -> None:
        self.name = name
        self.why = why
        self.code = code
        super().__init__(f"{name} is given up: {why}")


class _Ended(Exception):
    """A child ended, or was never ready, without being asked to."""

    def __init__(self, how: str, code: int | None) -> None:
        self.code = code
        super().__init__(how)


class _Post:
    """One child and what is known of it."""

    def __init__(self, child: Child, stage: int) -> None:
        self.child = child
        self.stage = stage
        self.spawned: Spawned | None = None
        self.facts: Facts | None = None
        self.ready = asyncio.Event()
        self.outdated = asyncio.Event()
        self.failed_at: list[float] = []


class Supervisor:
    """The children of one data folder. Call `run`, or use it as an asynchronous context; in the main thread.

    Entering starts the children and returns when all are ready; leaving stops them.

    Args:
        stages: children that start together, stage after stage.
        folder: the data folder, held while the supervisor is in use.
        report: told what happens.
        backoff: when a child that ended is started again.

    Raises:
        FolderInUse: on entering: another copy has the data folder.
        ChildFailed: on entering: a child is given up.
    """

    def __init__(
        self, stages: Sequence[Sequence[Child]], folder: RunFolder, *, report: Report, backoff: Backoff | None = None
    ) -> None:
        self._posts = [_Post(child, number) for number, stage in enumerate(stages) for child in stage]
        self._folder = folder
        self._report = report
        self._backoff = backoff or Backoff()
        self._tasks: dict[asyncio.Task[None], _Post | None] = {}
        self._owning = ExitStack()
        self.killed: list[str] = []
        """Children that did not end when asked to, and were killed."""

    async def run(self, when_ready: Callable[[], None] = lambda: None) -> int:
        """Keep the children going until SIGINT, SIGTERM or SIGHUP, then drain; a second signal kills.

        Args:
            when_ready: called once, when every child is ready.

        Returns:
            The exit code: 0 when every child was kept going and ended when asked to; 2 when one was given up whose
            settings or database are wrong; else 1.

        Raises:
            FolderInUse: another copy has the data folder.
        """
        # Before anything that leads to `stop`: what another copy runs on the folder is not this one's to clear away.
        self._begin()
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, asked)
        failed: ChildFailed | None = None
        try:
            await self._first(self._all_ready(), asked.wait())
            if not asked.is_set():
                when_ready()
                await self._first(asked.wait())
        except ChildFailed as error:
            failed = error
            self._report(error.name, f"given up: {error.why}; {self._folder.log(error.name)} may tell more")
        finally:
            await self.stop()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        if failed is not None and failed.code == WRONG_SETTINGS:
            return WRONG_SETTINGS
        return 1 if failed or self.killed else 0

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            await self._first(self._all_ready())
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def watch(self, until: asyncio.Event) -> None:
        """Return when `until` is set.

        Raises:
            ChildFailed: a child is given up before that.
        """
        await self._first(until.wait())

    async def stop(self) -> None:
        """Stop the children, the last stage first; one that cannot be stopped keeps none of the others running.

        Safe to call twice.

        Raises:
            ExceptionGroup: what went wrong on the way.
        """
        faults: list[Exception] = []
        for stage in sorted({post.stage for post in self._posts}, reverse=True):
            posts = [post for post in self._posts if post.stage == stage]
            await cancel(task for task, post in self._tasks.items() if post in posts)
            ended = await asyncio.gather(*(self._end(post) for post in posts), return_exceptions=True)
            faults += [each for each in ended if isinstance(each, Exception)]
        await cancel(self._tasks)
        self._tasks = {}
        self._owning.close()
        if faults:
            raise ExceptionGroup("not all children could be stopped in order", faults)

    def _begin(self) -> None:
        self._owning.enter_context(self._folder.owned())
        metrics.empty(self._folder.metrics)
        self._tasks = {asyncio.create_task(self._keep(post), name=post.child.name): post for post in self._posts}
        self._tasks[asyncio.create_task(self._bound_logs(), name="logs")] = None

    async def _all_ready(self) -> None:
        await asyncio.gather(*(post.ready.wait() for post in self._posts))

    async def _first(self, *wanted: Coroutine[None, None, object]) -> None:
        """Wait until one of the wanted things happens, or a child is given up."""
        waiting = {asyncio.ensure_future(each) for each in wanted}
        try:
            await asyncio.wait({*waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(waiting)
        for task in self._tasks:
            if task.done():
                task.result()

    async def _keep(self, post: _Post) -> None:
        """Keep one child going, for ever.

        Raises:
            ChildFailed: it is given up.
        """
        name = post.child.name
        while True:
            await asyncio.gather(*(each.ready.wait() for each in self._posts if each.stage < post.stage))
            post.outdated.clear()
            try:
                await self._live(post)
            except CannotStart as error:
                raise ChildFailed(name, str(error)) from error
            except _Ended as ended:
                now = time.monotonic()
                post.failed_at.append(now)
                wait = None if ended.code == WRONG_SETTINGS else self._backoff.wait(post.failed_at, now)
                if wait is None:
                    raise ChildFailed(name, str(ended), ended.code) from ended
                self._report(name, f"{ended}; it starts again in {wait:g} s")
                await self._end(post)
                await asyncio.sleep(wait)
            else:
                self._report(name, "starts again, since what it depends on has changed")
                await self._end(post)

    async def _live(self, post: _Post) -> None:
        """Start a child and watch it; returns when what it depends on has changed.

        Raises:
            CannotStart: it cannot be started at all.
            _Ended: it ended, or did not become ready.
        """
        child = post.child
        loop = asyncio.get_running_loop()
        self._report(child.name, "starts")

        def say(sentence: str) -> None:
            loop.call_soon_threadsafe(self._report, child.name, sentence)

        try:
            launch = await in_thread(partial(child.prepare, say))
            post.spawned = spawned = Spawned(launch, self._folder.log(child.name))
            facts = await self._facts(child, launch, spawned)
            self._folder.mark_ready(child.name, facts, pid=spawned.pid)
            self._announce(post, facts)
            while not post.outdated.is_set():
                _see(spawned)
                await asyncio.sleep(_LOOK_SECONDS)
        except (OSError, NoFreePort) as error:
            # A disk that is full, or a port that somebody else has taken: that may pass.
            raise _Ended(f"cannot go on: {error}", None) from error
        finally:
            post.ready.clear()

    async def _facts(self, child: Child, launch: Launch, spawned: Spawned) -> Facts:
        deadline = time.monotonic() + child.patience
        while (facts := await in_thread(partial(child.ready, launch, spawned.pid))) is None:
            _see(spawned)
            if time.monotonic() > deadline:
                raise _Ended(f"was not ready within {child.patience:g} s", None)
            await asyncio.sleep(_LOOK_SECONDS)
        return facts

    def _announce(self, post: _Post, facts: Facts) -> None:
        """Say that a child is ready; what was started with other facts of it is outdated."""
        if post.facts not in (None, facts):
            for later in self._posts:
                if later.stage > post.stage and later.spawned is not None:
                    later.outdated.set()
        post.facts = facts
        post.ready.set()
        self._report(post.child.name, "is ready")

    async def _end(self, post: _Post) -> None:
        """Stop a child, if it runs, and clear up after it."""
        child, spawned = post.child, post.spawned
        if spawned is not None:
            was_running = spawned.code() is None
            in_time = await asyncio.to_thread(spawned.stop, child.grace)
            post.spawned = None
            if was_running:
                self._report(child.name, "has ended" if in_time else "was killed before it ended by itself")
                self.killed += [] if in_time else [child.name]
        try:
            await asyncio.to_thread(child.clear)
        except OSError as error:
            self._report(child.name, f"cannot be cleared up after: {error}")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_SECONDS)
            for post in self._posts:
                keep_small(self._folder.log(post.child.name))

    def _on_signal(self, asked: asyncio.Event) -> None:
        if asked.is_set():
            for post in self._posts:
                if post.spawned is not None:
                    post.spawned.kill()
        asked.set()


def _see(spawned: Spawned) -> None:
    """Look whether a child still runs.

    Raises:
        _Ended: it does not.
    """
    code = spawned.code()
    if code is not None:
        raise _Ended(f"ended with signal {-code}" if code < 0 else f"ended with code {code}", code)

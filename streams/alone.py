"""One child without a supervisor: for a program that needs just that child, and only while it runs itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.child import Child, Facts, Launch, Spawned
from streams.run_folder import RunFolder

STARTS = 3
_LOOK_SECONDS = 0.05


class NotReady(Exception):
    """A child ended before it was ready, or was not ready in time.

    Attributes:
        name: the child.
        log: the end of what it said.
    """

    def __init__(self, name: str, log: str) -> None:
        self.name, self.log = name, log
        super().__init__(f"{name} does not start; it said:\n{log}")


@contextmanager
def running(
    child: Child, folder: RunFolder, say: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Facts, Spawned]]:
    """A child, from its being ready to its end: its facts and its process. Nothing is left of it afterwards.

    One that ends before it is ready is started again, as a supervisor would: on a busy machine Ray's daemons give each
    other up.

    Raises:
        CannotStart: it cannot be started at all.
        NotReady: it ended `STARTS` times, or was not ready in time.
    """
    for _ in range(STARTS):
        launch = child.prepare(say)
        spawned = Spawned(launch, folder.log(child.name))
        try:
            if (facts := _facts(child, launch, spawned)) is not None:
                folder.mark_ready(child.name, facts, pid=spawned.pid)
                yield facts, spawned
                return
        finally:
            spawned.stop(child.grace)
            child.clear()
    raise NotReady(child.name, folder.log(child.name).read_text()[-4000:])


def _facts(child: Child, launch: Launch, spawned: Spawned) -> Facts | None:
    """Of a child that is ready; None: it has ended, or its time is over."""
    deadline = time.monotonic() + child.patience
    while (facts := child.ready(launch, spawned.pid)) is None:
        if spawned.code() is not None or time.monotonic() > deadline:
            return None
        time.sleep(_LOOK_SECONDS)
    return facts

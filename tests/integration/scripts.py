"""Children that are a few lines of Python, and, as a program, a supervisor of two of them."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from streams.child import Facts, Launch
from streams.run_folder import RunFolder
from streams.supervisor import Supervisor

GOOD = "import time; print('here', flush=True); time.sleep(600)"
ON_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, {}); print('here', flush=True)\nwhile True: time.sleep(600)"
)
DEAF = ON_SIGTERM.format("signal.SIG_IGN")
PATIENT = ON_SIGTERM.format("lambda *_: print('asked', flush=True)")


class Script:
    """A child that is ready when it has printed `here`, and lays something down that is cleared away after its end."""

    def __init__(
        self, name: str, folder: RunFolder, code: str = GOOD, *, patience: float = 60, grace: float = 60
    ) -> None:
        self.name = name
        self.patience = patience
        self.grace = grace
        self.starts = 0
        self.laid_down = folder.path / f"{name}.sockets"
        self._folder = folder
        self._code = code

    def prepare(self, say: Callable[[str], None]) -> Launch:
        self._folder.log(self.name).unlink(missing_ok=True)
        self.laid_down.touch()
        self.starts += 1
        return Launch((sys.executable, "-c", self._code), dict(os.environ))

    def ready(self, launch: Launch, pid: int) -> Facts | None:
        return {} if "here" in self._folder.log(self.name).read_text() else None

    def clear(self) -> None:
        self.laid_down.unlink(missing_ok=True)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(data_dir: Path, kind: str) -> int:
    folder = RunFolder(data_dir)
    worker = {
        "good": Script("worker", folder),
        "deaf": Script("worker", folder, DEAF, grace=0.2),
        "patient": Script("worker", folder, PATIENT),
    }[kind]
    supervisor = Supervisor(
        [[Script("broker", folder)], [worker]], folder, report=lambda name, said: say(f"{name} {said}")
    )
    return asyncio.run(supervisor.run(lambda: say("ready")))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

"""The children that are this project's own commands: the worker and the API."""

import sys
from collections.abc import Callable, Mapping

from streams import metrics
from streams.child import Facts, Launch
from streams.run_folder import RunFolder


class OwnProgram:
    """The child that is `orchestrator NAME`: ready when it has said so in the run folder.

    Args:
        name: the subcommand, and the name under which it marks itself ready.
        folder: the copy it belongs to.
        environment: what it inherits; the folder to count in is added.
        patience: seconds until it must be ready.
        grace: seconds to drain.
    """

    def __init__(
        self, name: str, folder: RunFolder, environment: Mapping[str, str], *, patience: float = 120, grace: float = 30
    ) -> None:
        self.name = name
        self.patience = patience
        self.grace = grace
        self._folder = folder
        self._environment = {**environment, metrics.FOLDER_VARIABLE: str(folder.metrics)}

    def prepare(self, say: Callable[[str], None]) -> Launch:
        """The command; nothing has to be prepared."""
        return Launch((sys.executable, "-m", "streams.cli", self.name), self._environment)

    def ready(self, launch: Launch, pid: int) -> Facts | None:
        """What it has recorded of itself."""
        record = self._folder.running(self.name)
        return record.facts if record is not None and record.pid == pid else None

    def clear(self) -> None:
        """It leaves nothing behind."""

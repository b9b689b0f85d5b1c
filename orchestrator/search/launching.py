"""Launching experiment drivers."""

import asyncio
from functools import cache
from typing import Any

import ray

from orchestrator.core.draft import Assembler
from orchestrator.search.driver import ExperimentDriver
from orchestrator.search.settings import DriverSettings


class Launcher:
    """Sees that experiments are driven, in the Ray session that this process is connected to.

    A driver outlives the process that launched it.

    Args:
        settings: of every driver.
        assembler: travels to the drivers' processes.
    """

    def __init__(self, settings: DriverSettings, assembler: Assembler) -> None:
        self._settings = settings
        self._assembler = assembler

    async def launch(self, experiment: str) -> bool:
        """See that a driver leads the experiment, without waiting for it; True when one had to be started.

        One that is just ending takes the call with it: look again later.
        """
        return await asyncio.to_thread(self._launch, experiment)

    async def alive(self, experiment: str) -> bool:
        """Whether there is a driver of the experiment."""
        return await asyncio.to_thread(self._find, experiment) is not None

    def _launch(self, experiment: str) -> bool:
        driver = self._find(experiment)
        found = driver is not None
        if driver is None:
            actor = _actor().options(
                name=driver_name(experiment),
                namespace=self._settings.namespace,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_restarts=0,
            )
            driver = actor.remote(experiment, self._settings, self._assembler)
        # Asked even of one that was found: whoever started it may have died before asking.
        driver.conduct.remote()
        return not found

    def _find(self, experiment: str) -> Any:
        try:
            return ray.get_actor(driver_name(experiment), namespace=self._settings.namespace)
        except ValueError:
            return None


def driver_name(experiment: str) -> str:
    """What an experiment's driver is called in its Ray namespace."""
    return f"driver-{experiment}"


@cache
def _actor() -> Any:
    # No decorator: the class stays importable by its name, and travels by it.
    return ray.remote(ExperimentDriver)

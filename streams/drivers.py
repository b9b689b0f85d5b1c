"""Experiment drivers, as the reconciler sees them: detached Ray actors that live, or must be launched."""

import asyncio

import ray

from orchestrator.core.draft import Assembler
from orchestrator.search.driver import driver_name, launch
from orchestrator.search.settings import DriverSettings


class RayDrivers:
    """Launches drivers in the Ray cluster that this process is connected to."""

    def __init__(self, settings: DriverSettings, assembler: Assembler) -> None:
        self._settings = settings
        self._assembler = assembler

    async def alive(self, experiment: str) -> bool:
        """Whether the experiment has a driver."""
        return await asyncio.to_thread(self._alive, experiment)

    async def launch(self, experiment: str) -> bool:
        """See that the experiment has a driver; True when one had to be launched."""
        if await self.alive(experiment):
            return False
        await asyncio.to_thread(launch, experiment, self._settings, self._assembler)
        return True

    def _alive(self, experiment: str) -> bool:
        try:
            ray.get_actor(driver_name(experiment), namespace=self._settings.namespace)
        except ValueError:
            return False
        return True

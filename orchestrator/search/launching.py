"""Launching experiment drivers."""

import asyncio
from functools import cache
from typing import Any

import ray

from orchestrator.core.draft import Assembler
from orchestrator.search.driver import ExperimentDriver
from orchestrator.search.settings import DriverSettings
from orchestrator.search.slots import broker
from orchestrator.store.leases import Lease, driven_by


class Launcher:
    """Sees that experiments are driven, in the Ray session that this process is connected to.

    A driver outlives the process that launched it. There is one for each lease, so that one which has stopped is in
    nobody's way.

    Args:
        settings: of every driver.
        assembler: travels to the drivers' processes.
    """

    def __init__(self, settings: DriverSettings, assembler: Assembler) -> None:
        self._settings = settings
        self._assembler = assembler
        self._asked: set[Lease] = set()

    async def launch(self, experiment: str, lease: Lease) -> None:
        """Have a driver lead the experiment, without waiting for it."""
        await asyncio.to_thread(self._launch, experiment, lease)

    async def alive(self, lease: Lease) -> bool:
        """Whether there is a driver of this lease; one that has stopped is there.

        Another worker's driver is asked to lead: that one may have died between starting and asking it.
        """
        return await asyncio.to_thread(self._alive, lease)

    async def end(self, lease: Lease) -> None:
        """End the driver of this lease, if there is one, and what lanes do for it; they are not waited for."""
        await asyncio.to_thread(self._end, lease)

    def _launch(self, experiment: str, lease: Lease) -> None:
        actor = _actor().options(
            name=_name(lease),
            namespace=self._settings.namespace,
            lifetime="detached",
            num_cpus=0,
            max_restarts=0,
        )
        actor.remote(experiment, lease, self._settings, self._assembler).conduct.remote()
        self._asked.add(lease)

    def _alive(self, lease: Lease) -> bool:
        driver = self._find(lease)
        if driver is not None and lease not in self._asked:
            driver.conduct.remote()
            self._asked.add(lease)
        return driver is not None

    def _end(self, lease: Lease) -> None:
        if (driver := self._find(lease)) is not None:
            ray.kill(driver)
        broker(self._settings.namespace).stop.remote(driven_by(lease))

    def _find(self, lease: Lease) -> Any:
        try:
            return ray.get_actor(_name(lease), namespace=self._settings.namespace)
        except ValueError:
            return None


def _name(lease: Lease) -> str:
    """What the driver of a lease is called in its Ray namespace."""
    return f"{lease.name}:{lease.epoch}:{lease.holder}"


@cache
def _actor() -> Any:
    # No decorator: the class stays importable by its name, and travels by it.
    return ray.remote(ExperimentDriver)

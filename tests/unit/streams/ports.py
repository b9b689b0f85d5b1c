"""What the reconciler may count on: contracts that its fakes and the real ones are held to, and the fakes."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.store.leases import Lease
from schemas.base import Reason
from serving.deployer import DeployFailed, NotYet
from serving.version import ServedVersion, Standing
from streams.deploying import Serving
from streams.reconciling import Drivers
from tests.unit.streams.fakes import Hurdle


class FakeServing:
    """Serves whatever it is told to, in memory.

    Attributes:
        answering: by slot.
        told: every version that was asked for, in order.
        broken: digests of versions that cannot be served.
        hindered: how often versions of these digests cannot be served yet.
        slow: versions of these digests answer when their hurdle is opened.
        objections: to versions of these digests, once they answer.
        unreachable: raised by whoever asks what answers, or deletes.
    """

    def __init__(self) -> None:
        self.answering: dict[str, ServedVersion | None] = {}
        self.told: list[ServedVersion] = []
        self.broken: set[str] = set()
        self.hindered: Counter[str] = Counter()
        self.slow: dict[str, Hurdle] = {}
        self.objections: dict[str, tuple[Reason, ...]] = {}
        self.unreachable: Exception | None = None

    async def deploy(self, wanted: ServedVersion) -> None:
        self.told.append(wanted)
        if wanted.digest in self.slow:
            self.slow[wanted.digest].reached.set()
            await self.slow[wanted.digest].opened.wait()
        if wanted.digest in self.broken:
            raise DeployFailed([Reason(code="broken", where=wanted.ensemble, message="it cannot be loaded")])
        if self.hindered[wanted.digest]:
            self.hindered[wanted.digest] -= 1
            raise NotYet([Reason(code="hindered", where=wanted.ensemble, message="there is no room")])
        self.answering[wanted.slot] = wanted

    async def serving(self) -> dict[str, Standing | None]:
        if self.unreachable is not None:
            raise self.unreachable
        return {
            slot: None if found is None else Standing(found, self.objections.get(found.digest, ()))
            for slot, found in self.answering.items()
        }

    async def delete(self, slot: str) -> None:
        if self.unreachable is not None:
            raise self.unreachable
        self.answering.pop(slot, None)


class FakeDrivers:
    """Drives experiments in name only: a driver lives until the test ends it.

    Attributes:
        living: by experiment, the lease of its driver.
        launched: every start, in order.
        ended: the leases whose drivers were ended.
        on_look: called before anybody is told whether a driver lives.
    """

    def __init__(self) -> None:
        self.living: dict[str, Lease] = {}
        self.launched: list[str] = []
        self.ended: list[Lease] = []
        self.on_look: Callable[[], Awaitable[None]] | None = None

    async def launch(self, experiment: str, lease: Lease) -> None:
        self.living[experiment] = lease
        self.launched.append(experiment)

    async def alive(self, lease: Lease) -> bool:
        if self.on_look is not None:
            await self.on_look()
        return lease in self.living.values()

    async def end(self, lease: Lease) -> None:
        self.ended.append(lease)
        self.living = {experiment: each for experiment, each in self.living.items() if each != lease}


class ServingContract(ABC):
    """What holds for whoever makes versions answer. A subclass gives the fixture `serving`, and versions."""

    @abstractmethod
    def version(self, ensemble: str, number: int) -> ServedVersion:
        """A version that can be served."""

    @abstractmethod
    def broken(self, ensemble: str, number: int) -> ServedVersion:
        """A version that cannot."""

    async def test_the_version_that_was_deployed_last_answers_when_deploying_returns(self, serving: Serving) -> None:
        assert "bot" not in await serving.serving()
        first, second = self.version("bot", 1), self.version("bot", 2)
        for wanted in (first, first, second):
            await serving.deploy(wanted)
            assert (await serving.serving())["bot"] == Standing(wanted)
        with pytest.raises(DeployFailed) as refused:
            await serving.deploy(self.broken("bot", 3))
        assert refused.value.reasons
        assert (await serving.serving())["bot"] == Standing(second)
        for _ in range(2):
            await serving.delete("bot")
            assert "bot" not in await serving.serving()

    async def test_a_first_version_that_cannot_be_served_leaves_nothing(self, serving: Serving) -> None:
        with pytest.raises(DeployFailed) as refused:
            await serving.deploy(self.broken("another", 1))
        assert refused.value.reasons
        assert "another" not in await serving.serving()


class DriversContract(ABC):
    """What holds for whoever drives experiments. A subclass gives the fixture `drivers`."""

    @abstractmethod
    async def ended(self, drivers: Drivers, lease: Lease) -> None:
        """Return when the driver of this lease has ended; one that was launched does so by itself, or is ended."""

    async def test_each_lease_has_a_driver_of_its_own_that_ends(self, drivers: Drivers) -> None:
        first, second = Lease("driver:one", "worker", 1), Lease("driver:one", "worker", 2)
        await drivers.end(first)
        for lease in (first, second):
            assert not await drivers.alive(lease)
            await drivers.launch("one", lease)
            assert await drivers.alive(lease)
        await self.ended(drivers, first)
        await drivers.end(second)
        await drivers.end(second)
        await self.ended(drivers, second)

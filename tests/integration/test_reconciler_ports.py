"""The reconciler's ports on a real Ray: the contracts that its fakes are held to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import serve

from orchestrator.search.launching import Launcher, _actor, _name
from orchestrator.store.leases import Lease, driver_of
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.deployer import Deployer
from serving.version import ServedVersion
from streams.child import Facts
from streams.reconciling import Drivers
from tests.integration.searching import PATIENCE
from tests.ray_cluster import connected
from tests.unit.search.studies import driver_settings
from tests.unit.serving.drafts import candidate, draft
from tests.unit.streams.ports import DriversContract, ServingContract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def connection(ray_head: Facts) -> Iterator[None]:
    with connected(ray_head):
        yield
        serve.shutdown()  # type: ignore[no-untyped-call]


class TestDeployer(ServingContract):
    @pytest.fixture
    def serving(self, tmp_path: Path) -> Deployer:
        self.artifacts = Artifacts(tmp_path)
        return Deployer(tmp_path, patience=PATIENCE)

    def version(self, ensemble: str, number: int) -> ServedVersion:
        assembled = EnsembleAssembler(self.artifacts).assemble(draft(candidate(f"t{number}"), ensemble=ensemble))
        return ServedVersion(ensemble, number, assembled.digest, "live", "passed")

    def broken(self, ensemble: str, number: int) -> ServedVersion:
        return ServedVersion(ensemble, number, "0" * 64, "live", "passed")


class TestLauncher(DriversContract):
    """Of experiments that the database does not know: their drivers end by themselves."""

    @pytest.fixture
    def drivers(self, tmp_path: Path) -> Launcher:
        return Launcher(driver_settings(tmp_path), EnsembleAssembler(Artifacts(tmp_path)))

    async def test_one_that_its_launcher_never_asked_is_asked_by_whoever_looks(
        self, drivers: Drivers, tmp_path: Path
    ) -> None:
        settings, lease = driver_settings(tmp_path), Lease(driver_of("unasked"), "a worker that died", 1)
        options = _actor().options(name=_name(lease), namespace=settings.namespace, lifetime="detached", num_cpus=0)
        options.remote("unasked", lease, settings, EnsembleAssembler(Artifacts(tmp_path)))
        assert await drivers.alive(lease)
        await self.ended(drivers, lease)

    async def ended(self, drivers: Drivers, lease: Lease) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                if not await drivers.alive(lease):
                    return
                await asyncio.sleep(0.05)

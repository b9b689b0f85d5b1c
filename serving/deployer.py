"""The deployer: makes Ray Serve serve the wanted version of each ensemble, and carries batches to it.

Every ensemble is an application of its own, with one replica and no HTTP. Ray must be connected.
"""

import asyncio
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from orchestrator.core.errors import Refused
from schemas.base import JsonObject, Reason
from serving.answer import BatchAnswer, FeatureBatch
from serving.replica import EnsembleReplica, NotServing
from serving.version import ServedVersion

PREFIX = "ensemble-"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
"""A replica is a new process, and starts slowly beside a search that keeps every core busy."""

GONE = (RayActorError, DeploymentUnavailableError)
"""The replica died under a call."""


class DeployFailed(Refused):
    """The version is not served; what was served before goes on."""


class Deployer:
    """Deploys ensemble versions that `artifacts` holds, one at a time, and answers ticks with them."""

    def __init__(self, artifacts: Path, *, patience: float = PATIENCE_SECONDS) -> None:
        self._artifacts = artifacts
        self._patience = patience
        self._handles: dict[str, Any] = {}
        self._turn = asyncio.Lock()

    async def deploy(self, wanted: ServedVersion) -> None:
        """Serve `wanted` and return once it answers; at once where it already does.

        The replica loads and tries the version while the old one answers; calls that arrive during the change wait for
        a fraction of a second, and none fails.

        Raises:
            DeployFailed: it cannot be served, and why.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(self._patience):
                    await self._deploy(wanted, wanted.configuration(self._artifacts))
            except TimeoutError:
                message = f"It did not answer within {self._patience:g} s; look at Ray for resources and dead workers."
                raise DeployFailed([_reason("deploy_timed_out", wanted, message)]) from None
            except (RayError, RayServeException) as error:
                raise DeployFailed([_reason("serve_failed", wanted, str(error))]) from error

    async def _deploy(self, wanted: ServedVersion, configuration: JsonObject) -> None:
        status = (await _statuses()).get(wanted.ensemble)
        if status is None:
            await self._apply(wanted.ensemble, None, None)
        elif status != "RUNNING":
            # Nothing answers that staging could protect, and nothing would answer the call that stages.
            await self._apply(wanted.ensemble, configuration, wanted)
            return
        if await self._serving(wanted.ensemble) == wanted:
            return
        if reasons := await (await self._handle(wanted.ensemble)).stage.remote(configuration):
            if status is None:
                await self._remove(wanted.ensemble)
            raise DeployFailed(reasons)
        await self._apply(wanted.ensemble, configuration, wanted)

    async def serving(self) -> dict[str, ServedVersion]:
        """The version that answers, of each ensemble that has one."""
        running = [ensemble for ensemble, status in (await _statuses()).items() if status == "RUNNING"]
        found = {ensemble: await self._serving(ensemble) for ensemble in running}
        return {ensemble: version for ensemble, version in found.items() if version is not None}

    async def answer(self, ensemble: str, batch: FeatureBatch) -> BatchAnswer:
        """The ensemble's answer to a batch; every row of it is of one version.

        Raises:
            NotServing: no version of the ensemble answers now. Where its replica died, Serve starts it again, and the
                batch can be asked again.
        """
        if ensemble not in self._handles and ensemble not in await _statuses():
            message = "No such ensemble is deployed; deploy a version of it first."
            raise NotServing([Reason(code="not_serving", where=ensemble, message=message)])
        try:
            answer: BatchAnswer = await (await self._handle(ensemble)).answer.remote(batch)
        except GONE as error:
            raise NotServing([Reason(code="not_serving", where=ensemble, message=str(error)[-4096:])]) from error
        return answer

    async def delete(self, ensemble: str) -> None:
        """Serve the ensemble no longer; nothing changes where it is not served."""
        async with self._turn:
            if ensemble in await _statuses():
                await self._remove(ensemble)

    async def _serving(self, ensemble: str) -> ServedVersion | None:
        try:
            serving: ServedVersion | None = await (await self._handle(ensemble)).serving.remote()
        except GONE:
            return None
        return serving

    async def _handle(self, ensemble: str) -> Any:
        """The handle of an application that exists."""
        if ensemble not in self._handles:
            self._handles[ensemble] = await asyncio.to_thread(serve.get_app_handle, PREFIX + ensemble)
        return self._handles[ensemble]

    async def _apply(self, ensemble: str, configuration: JsonObject | None, expected: ServedVersion | None) -> None:
        """Give the application this configuration, and wait until it serves what is expected of it.

        The first time, this starts the application's replica.
        """
        await asyncio.to_thread(serve.start, proxy_location="Disabled")
        target = serve.RunTarget(_application(configuration), name=PREFIX + ensemble, route_prefix=None)
        (self._handles[ensemble],) = await asyncio.to_thread(
            serve.run_many, [target], wait_for_applications_running=False
        )
        # Taking the configuration on put the application back to DEPLOYING, so RUNNING is never of the one before.
        while (status := (await _statuses())[ensemble]) != "RUNNING" or await self._serving(ensemble) != expected:
            if status == "DEPLOY_FAILED":
                raise RayServeException((await _applications())[PREFIX + ensemble].message)
            await asyncio.sleep(POLL_SECONDS)

    async def _remove(self, ensemble: str) -> None:
        self._handles.pop(ensemble, None)
        await asyncio.to_thread(serve.delete, PREFIX + ensemble)


async def _statuses() -> dict[str, str]:
    """The status of each ensemble's application."""
    applications = await _applications()
    return {name.removeprefix(PREFIX): one.status for name, one in applications.items() if name.startswith(PREFIX)}


async def _applications() -> dict[str, Any]:
    """Every application's status by name; none where Serve does not run."""
    status = await asyncio.to_thread(serve.status)
    return dict(status.applications)


def _application(configuration: JsonObject | None) -> Any:
    decorate = serve.deployment(
        user_config=configuration,
        # Reserving none: a search that has every core must not keep a version from being served.
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        logging_config={"enable_access_log": False},
        max_constructor_retry_count=3,
        # How soon a replica that died is missed.
        health_check_period_s=2.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=2.0,
    )
    deployment = decorate(EnsembleReplica)
    # Serve would take each call for new code and start another replica, with a gap; the same version says that only the
    # configuration is new. There is no public way to say so without declaring every application at once.
    return deployment.options(version=installed_version("ray-orchestrator"), _internal=True).bind()


def _reason(code: str, wanted: ServedVersion, message: str) -> Reason:
    return Reason(code=code, where=f"{wanted.ensemble} version {wanted.version}", message=message[-4096:])

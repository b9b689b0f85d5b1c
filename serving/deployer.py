"""The deployer: makes Ray Serve serve the wanted version of each ensemble, and carries batches to it.

Every ensemble is an application of its own, with one replica, which HTTP reaches under its name; so is a challenger,
which HTTP does not reach. Each has a slot, which the application is named by. Ray must be connected.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from orchestrator.core.errors import Refused
from schemas.base import JsonObject, Reason
from serving.answer import FeatureBatch, Part
from serving.replica import EnsembleReplica, NotServing
from serving.version import ServedVersion, Standing, is_beside

PREFIX = "ensemble-"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
"""A replica is a new process, and starts slowly beside a search that keeps every core busy."""
RETENTION_SECONDS = 60.0
LOOK_SECONDS = 10.0
"""How long a replica may take to say which version it serves."""
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="serve")
_DIED = (RayActorError, DeploymentUnavailableError, grpc.RpcError)
"""What a call raises under which the replica dies."""
_IN_THE_WAY = (RayError, RayServeException, grpc.RpcError)


class DeployFailed(Refused):
    """The version can never be served; what was served before goes on."""


class NotYet(Refused):
    """Ray or Ray Serve is in the way: the same may succeed a moment later. What was served before goes on."""


Listening = AbstractContextManager[tuple[str, int]]
"""A host and a port to listen on, which nobody else chooses until it is left."""


class Deployer:
    """Deploys ensemble versions that `artifacts` holds, of each ensemble one at a time, and answers ticks with them.

    Args:
        artifacts: where versions are kept.
        patience: seconds that Ray Serve may take.
        retention: seconds for which a replica keeps a version after its successor has answered for the first time.
        listening: where HTTP is answered from when Ray Serve is started on; None: nowhere.
        key_digest: of the key that callers over HTTP must show; None: they show none.
    """

    def __init__(
        self,
        artifacts: Path,
        *,
        patience: float = PATIENCE_SECONDS,
        retention: float = RETENTION_SECONDS,
        listening: Callable[[], Listening] | None = None,
        key_digest: str | None = None,
    ) -> None:
        self._artifacts = artifacts
        self._key_digest = key_digest
        self._listening = listening
        self._retention = retention
        self._patience = patience
        self._handles: dict[str, Any] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def deploy(self, wanted: ServedVersion) -> None:
        """Serve `wanted` and return once it answers; at once where it already does.

        The replica loads and tries the version while the old one answers; calls that arrive during the change wait for
        a fraction of a second, and none fails.

        Raises:
            DeployFailed: it cannot be served, and why.
            NotYet: it does not answer, or Ray Serve does not.
        """
        async with self._turns[wanted.slot]:
            with _troubles(f"{wanted.ensemble} version {wanted.version}"):
                async with asyncio.timeout(self._patience):
                    await self._deploy(wanted, wanted.configuration(self._artifacts, self._key_digest))

    async def _deploy(self, wanted: ServedVersion, configuration: JsonObject) -> None:
        status = (await _statuses()).get(wanted.slot)
        if status != "RUNNING":
            # Nothing answers that staging could protect, and nothing would answer the call that stages.
            await self._apply(wanted.slot, None if status is None else configuration)
        if await self._serves(wanted):
            return
        if reasons := await (await self._handle(wanted.slot)).stage.remote(configuration):
            if status is None:
                await self._remove(wanted.slot)
            raise DeployFailed(reasons)
        await self._apply(wanted.slot, configuration, wanted)

    async def serving(self) -> dict[str, Standing | None]:
        """What Ray Serve has: by slot the version that answers and how it stands, or None where nothing does, or
        asks for another key.

        Raises:
            NotYet: Ray Serve does not answer.
        """
        with _troubles("Ray Serve"):
            async with asyncio.timeout(self._patience):
                statuses = await _statuses()
                running = [slot for slot, status in statuses.items() if status == "RUNNING"]
                found = await asyncio.gather(*map(self._looked_at, running))
        return dict.fromkeys(statuses) | dict(zip(running, found, strict=True))

    async def answer(self, slot: str, batch: FeatureBatch) -> tuple[Part, ...]:
        """What answers in a slot, to a batch: mostly of one version, else a part for each.

        Where its replica died, Serve starts it again: until then this may wait, and whoever calls says for how long.

        Raises:
            NotServing: no version answers there now; the batch can be asked again.
        """
        try:
            parts: tuple[Part, ...] = await (await self._handle(slot)).answer.remote(batch)
        except _IN_THE_WAY as error:
            raise NotServing([Reason(code="not_serving", where=slot, message=_last_words(error))]) from error
        return parts

    async def delete(self, slot: str) -> None:
        """Serve in this slot no longer; nothing changes where nothing is served.

        Raises:
            NotYet: Ray Serve does not answer.
        """
        async with self._turns[slot]:
            with _troubles(slot):
                async with asyncio.timeout(self._patience):
                    if slot in await _statuses():
                        await self._remove(slot)

    async def _looked_at(self, slot: str) -> Standing | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                found = await self._serving(slot)
                return found if found is not None and found.key_digest == self._key_digest else None
        return None

    async def _serves(self, wanted: ServedVersion) -> bool:
        found = await self._serving(wanted.slot)
        return found is not None and (found.served, found.key_digest) == (wanted, self._key_digest)

    async def _serving(self, slot: str) -> Standing | None:
        try:
            serving: Standing | None = await (await self._handle(slot)).serving.remote()
        except _DIED:
            return None
        return serving

    async def _handle(self, slot: str) -> Any:
        """The handle of an application that exists."""
        if slot not in self._handles:
            self._handles[slot] = _quick(await _client(serve.get_app_handle, PREFIX + slot))
        return self._handles[slot]

    async def _apply(self, slot: str, configuration: JsonObject | None, expected: ServedVersion | None = None) -> None:
        """Give the application this configuration, and wait until it runs and serves what is expected.

        The first time, this starts the application's replica.
        """
        await _client(_start, self._listening)
        self._handles[slot] = _quick(await _client(_run, slot, configuration, self._retention))
        # Taking the configuration on put the application back to DEPLOYING, so RUNNING is never of the one before.
        while (status := (await _statuses())[slot]) != "RUNNING" or not (
            expected is None or await self._serves(expected)
        ):
            if status == "DEPLOY_FAILED":
                raise RayServeException((await _applications())[PREFIX + slot].message)
            await asyncio.sleep(POLL_SECONDS)

    async def _remove(self, slot: str) -> None:
        self._handles.pop(slot, None)
        await _client(serve.delete, PREFIX + slot, _blocking=False)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if slot not in await _statuses():
                return


def _quick(handle: Any) -> Any:
    """A handle whose calls go straight to the replica, instead of through the object store: two thirds of the work."""
    return handle.options(_by_reference=False, request_serialization="pickle")


async def _statuses() -> dict[str, str]:
    """The status of each application, by slot."""
    applications = await _applications()
    return {name.removeprefix(PREFIX): one.status for name, one in applications.items() if name.startswith(PREFIX)}


async def _applications() -> dict[str, Any]:
    """Every application's status by name; none where Serve does not run."""
    status = await _client(serve.status)
    return dict(status.applications)


async def _client(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call of Ray Serve's own functions returns: they block, and go wrong where two of them overlap."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, partial(call, *arguments, **options))


def _start(listening: Callable[[], Listening] | None) -> None:
    """Start Ray Serve, where it does not run.

    Raises:
        RayError, TimeoutError: it cannot listen there; it does not run then.
    """
    status = serve.status()
    if status.proxies or status.applications or listening is None:
        serve.start(proxy_location="Disabled")
        return
    with listening() as (host, port):
        try:
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
        except (RayError, TimeoutError):
            # Another attempt finds another port; where it runs already, it keeps its own.
            serve.shutdown()  # type: ignore[no-untyped-call]
            raise


def _run(slot: str, configuration: JsonObject | None, retention: float) -> Any:
    """Have Ray Serve run a slot's application with this configuration; the application's handle."""
    reached_at = None if is_beside(slot) else f"/{slot}"
    target = serve.RunTarget(_application(configuration, retention), name=PREFIX + slot, route_prefix=reached_at)
    (handle,) = serve.run_many([target], wait_for_applications_running=False)
    return handle


def _application(configuration: JsonObject | None, retention: float) -> Any:
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
    return deployment.options(version=installed_version("ray-orchestrator"), _internal=True).bind(retention)


@contextmanager
def _troubles(where: str) -> Iterator[None]:
    """Say of what goes wrong with Ray that it may pass.

    Raises:
        NotYet: it went wrong.
    """
    try:
        yield
    except TimeoutError as error:
        message = "No answer in time; look at Ray for resources and dead workers."
        raise NotYet([Reason(code="deploy_timed_out", where=where, message=message)]) from error
    except _IN_THE_WAY as error:
        raise NotYet([Reason(code="serve_failed", where=where, message=_last_words(error))]) from error


def _last_words(error: Exception) -> str:
    return str(error)[-4096:] or type(error).__name__

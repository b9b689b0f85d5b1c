"""The replica: one process in which one version of an ensemble answers."""

import asyncio
import logging
import time

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.errors import Refused
from schemas.base import JsonObject, Reason
from serving.answer import FeatureBatch, Part
from serving.predicting import respond
from serving.succession import Succession
from serving.version import LoadedVersion, Standing, UnusableVersion, load_version, read_configuration

_log = logging.getLogger(__name__)


class NotServing(Refused):
    """The replica has no version yet."""


class EnsembleReplica:
    """Answers with one version; another is loaded beside it, and takes over with the next bar.

    Serve stops a replica whose `reconfigure` raises, and the version that it served with it. So a new version is first
    staged by a call, which loads it while the old one answers and says what is wrong with it; `reconfigure` then only
    takes over what is staged. After a crash, Serve starts the replica with the newest configuration and nothing staged:
    then `reconfigure` loads it.

    Args:
        retention: seconds for which a version is kept after its successor has answered for the first time.
    """

    def __init__(self, retention: float) -> None:
        self._retention = retention
        self._succession: Succession | None = None
        self._staged: LoadedVersion | None = None
        self._key_digest: str | None = None

    async def stage(self, configuration: JsonObject) -> tuple[Reason, ...]:
        """Load a version, without serving it; empty: it is ready, else what is wrong with it."""
        try:
            self._staged = await self._loaded(configuration)
        except Refused as refusal:
            return refusal.reasons
        return ()

    async def reconfigure(self, configuration: JsonObject) -> None:
        """Serve the configured version from the next bar on.

        One that cannot be loaded leaves things as they are: what is served goes on, and a replica that serves nothing
        yet goes on with that, and says so.
        """
        wanted, _, self._key_digest = read_configuration(configuration)
        if self._succession is not None and self._succession.served == wanted:
            return
        staged, self._staged = self._staged, None
        if staged is None or staged.served != wanted:
            try:
                staged = await self._loaded(configuration)
            except Refused:
                _log.exception("%s cannot be loaded", wanted)
                return
        if self._succession is None:
            self._succession = Succession(staged, self._retention)
        else:
            self._succession.succeed(staged)

    async def answer(self, batch: FeatureBatch) -> tuple[Part, ...]:
        """Answer every row of a batch; mostly one version answers all of them, else there is a part for each.

        Raises:
            NotServing: there is no version.
        """
        if self._succession is None:
            message = "No version is loaded yet; ask again when its deployment has ended."
            raise NotServing([Reason(code="not_serving", message=message)])
        return self._succession.answer(batch, time.monotonic())

    async def __call__(self, request: Request) -> Response:
        """Answer a request that Ray Serve's HTTP proxy hands on."""
        return await respond(request, self._succession, self._key_digest)

    async def serving(self) -> Standing | None:
        """The version that answers, and what is held against it."""
        if self._succession is None:
            return None
        return Standing(self._succession.served, self._succession.objections(time.monotonic()), self._key_digest)

    async def _loaded(self, configuration: JsonObject) -> LoadedVersion:
        """A version, in memory already or loaded in a thread, so that calls are answered meanwhile.

        Raises:
            Refused: it cannot be loaded.
            OSError, MemoryError: it may be a moment later.
        """
        served, artifacts, _ = read_configuration(configuration)
        kept = None if self._succession is None else self._succession.kept(served)
        try:
            return kept if kept is not None else await asyncio.to_thread(load_version, served, artifacts)
        except (Refused, OSError, MemoryError):
            raise
        except Exception as error:
            # A model's library may raise anything at what it cannot read.
            reason = Reason(
                code="load_raised", where=served.ensemble, message=f"{type(error).__name__}: {error}"[:4096]
            )
            raise UnusableVersion([reason]) from error

"""The replica: one process in which one version of an ensemble answers."""

import asyncio
import logging

from orchestrator.core.errors import Refused
from schemas.base import JsonObject, Reason
from serving.answer import BatchAnswer, FeatureBatch, answer
from serving.version import LoadedVersion, ServedVersion, load_version, read_configuration

_log = logging.getLogger(__name__)


class NotServing(Refused):
    """The replica has no version yet."""


class EnsembleReplica:
    """Answers with one version; another is loaded beside it, and takes over by the change of one reference.

    Serve stops a replica whose `reconfigure` raises, and the version that it served with it. So a new version is first
    staged by a call, which loads it while the old one answers and says what is wrong with it; `reconfigure` then only
    takes over what is staged. After a crash, Serve starts the replica with the newest configuration and nothing staged:
    then `reconfigure` loads it.
    """

    def __init__(self) -> None:
        self._current: LoadedVersion | None = None
        self._staged: LoadedVersion | None = None

    async def stage(self, configuration: JsonObject) -> tuple[Reason, ...]:
        """Load a version, without serving it; empty: it is ready, else what is wrong with it."""
        try:
            self._staged = await _load(configuration)
        except Refused as refusal:
            return refusal.reasons
        return ()

    async def reconfigure(self, configuration: JsonObject) -> None:
        """Serve the configured version from the next call on; a call that is under way ends with the one it began with.

        Raises:
            Refused: it cannot be loaded, and no other is served. One that is served goes on.
        """
        wanted, _ = read_configuration(configuration)
        if self._current is not None and self._current.served == wanted:
            return
        staged, self._staged = self._staged, None
        if staged is None or staged.served != wanted:
            try:
                staged = await _load(configuration)
            except Refused:
                if self._current is None:
                    raise
                _log.exception("%s cannot be loaded; %s goes on", wanted, self._current.served)
                return
        self._current = staged

    async def answer(self, batch: FeatureBatch) -> BatchAnswer:
        """Answer a batch with one version, whichever is current when the call begins.

        Raises:
            NotServing: there is none.
        """
        current = self._current
        if current is None:
            message = "No version is loaded yet; ask again when its deployment has ended."
            raise NotServing([Reason(code="not_serving", message=message)])
        return answer(current, batch)

    async def serving(self) -> ServedVersion | None:
        """The version that answers."""
        return None if self._current is None else self._current.served


async def _load(configuration: JsonObject) -> LoadedVersion:
    """In a thread, so that calls are answered meanwhile."""
    return await asyncio.to_thread(load_version, *read_configuration(configuration))

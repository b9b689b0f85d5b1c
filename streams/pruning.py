"""Deletes what nothing refers to any more, by the rules of `orchestrator.core.retention`.

It is deleted bit by bit: nobody who writes waits for long. What is deleted twice, or not at all since the worker died,
does no harm.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from orchestrator.core.retention import Keeping, kept_versions, may_go, members_in, unreferred
from orchestrator.store import experiments, leases, outbox, retention
from schemas.base import JsonObject
from serving.artifacts import Artifacts
from streams.leading import Leadership, Leading
from streams.repeating import OnFailure

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 3600.0
AT_ONCE = 500
"""Deleted in one transaction."""
UNTOUCHED = timedelta(days=1)
"""Files that were written to since are left alone: somebody may be at it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pruned:
    """How much was deleted."""

    events: int
    predictions: int
    artifacts: int
    folders: int


class Pruning(Leading):
    """Prunes once an hour; of all workers, one does.

    Args:
        leadership: of the worker that prunes.
        artifacts: what ensembles are made of.
        working: the folder in which each search has one of its own while it is under way.
        keeping: how much is kept that nothing needs.
        clock: the time.
        on_failure: called with the error that ends it.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        artifacts: Artifacts,
        working: Path,
        keeping: Keeping,
        clock: Callable[[], datetime],
        on_failure: OnFailure,
    ) -> None:
        super().__init__(leadership, on_failure)
        self._artifacts = artifacts
        self._working = working
        self._keeping = keeping
        self._clock = clock

    async def act(self) -> None:
        """Prune, then rest."""
        try:
            log.info("pruned", **vars(await self.prune()))
        except OSError as error:
            # Of a folder that cannot be written to: the next time may find it mended.
            log.error("not_pruned", path=str(error.filename), cause=str(error))
        await self.pause(PAUSE_SECONDS)

    async def prune(self) -> Pruned:
        """Delete everything that may go now.

        Raises:
            LeaseLost: another worker prunes.
            OSError: a file cannot be deleted; what is left is tried again the next time.
        """
        now = self._clock()
        events = await self._events(now)
        kept = await self._kept(now)
        return Pruned(
            events=events,
            predictions=await self._predictions(kept, now),
            artifacts=await self._artifacts_of_none(kept, now),
            folders=await self._folders(now),
        )

    async def _events(self, now: datetime) -> int:
        gone = 0
        while True:
            async with self._database.transaction() as tx:
                few = await outbox.prune(tx, now - self._keeping.published, AT_ONCE)
            gone += few
            if few < AT_ONCE:
                return gone

    async def _kept(self, now: datetime) -> list[JsonObject]:
        """The manifests of the versions that are kept."""
        async with self._database.snapshot() as tx:
            return await retention.manifests(tx, kept_versions(await retention.versions(tx), self._keeping, now))

    async def _predictions(self, kept: Sequence[JsonObject], now: datetime) -> int:
        members, gone = members_in(kept), 0
        async with self._database.snapshot() as tx:
            names = await retention.judged(tx, now - self._keeping.unreferred)
        for name in names:
            async with self._database.snapshot() as tx:
                rows = may_go(await retention.predicted(tx, name), members, self._keeping, now)
            for few in _few(rows):
                async with self._database.transaction() as tx:
                    await retention.forget_predictions(tx, few)
            gone += len(rows)
        return gone

    async def _artifacts_of_none(self, kept: Sequence[JsonObject], now: datetime) -> int:
        async with self._database.snapshot() as tx:
            noted = await retention.noted_artifacts(tx, now - self._keeping.unreferred)
        gone = 0
        for few in _few(unreferred(noted, kept, self._keeping, now)):
            deleted = [digest for digest in few if self._artifacts.remove(digest, before=now - UNTOUCHED)]
            async with self._database.transaction() as tx:
                await retention.forget_artifacts(tx, deleted)
            gone += len(deleted)
        return gone

    async def _folders(self, now: datetime) -> int:
        """Delete what searches have left that nobody leads, as where a driver was killed; a driver begins anew."""
        found = {path.name: path for path in self._working.glob("*") if _touched(path) < now - UNTOUCHED}
        async with self._database.snapshot() as tx:
            known = await experiments.standing(tx, found)
            led = await leases.of_drivers(tx)
        left = [path for name, path in found.items() if name in known and name not in led]
        for path in left:
            shutil.rmtree(path)
        return len(left)


def _touched(path: Path) -> datetime:
    """When anything last changed in a folder; the end of time where it has gone meanwhile."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.max.replace(tzinfo=UTC)


def _few(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while few := list(islice(left, AT_ONCE)):
        yield few

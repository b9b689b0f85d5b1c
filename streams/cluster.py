"""What the Ray cluster has: said by the worker, which is Ray's client anyway, for whoever shows it.

The API's process is no client of Ray's: one whose head dies is ended by Ray.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import ray
import structlog
from ray.exceptions import RayError

from schemas.base import JsonObject, format_instant
from streams.repeating import OnFailure, Repeating
from streams.run_folder import RunFolder

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 5.0


class ClusterVitals(Repeating):
    """Records the cluster's resources every few seconds, while Ray answers."""

    def __init__(self, folder: RunFolder, clock: Callable[[], datetime], on_failure: OnFailure) -> None:
        super().__init__(on_failure)
        self._folder = folder
        self._clock = clock

    async def turn(self) -> None:
        """Record once."""
        try:
            facts = await asyncio.to_thread(_facts)
        except (RayError, ConnectionError, TimeoutError) as error:
            log.warning("cluster_unknown", error=str(error))
        else:
            self._folder.mark_cluster(facts | {"at": format_instant(self._clock())})
        await self.pause(PAUSE_SECONDS)


def _facts() -> JsonObject:
    cluster: Any = ray
    return {
        "nodes": sum(bool(node["Alive"]) for node in cluster.nodes()),
        "total": _own(cluster.cluster_resources()),
        "available": _own(cluster.available_resources()),
    }


def _own(resources: Mapping[str, float]) -> dict[str, float]:
    """Without the names under which placement groups hold parts of them once more."""
    return {name: amount for name, amount in sorted(resources.items()) if "_group_" not in name}

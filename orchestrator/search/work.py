"""What the jobs of one run share."""

from collections.abc import Mapping
from dataclasses import dataclass

import ray

from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.guard import Limits


@dataclass(frozen=True)
class Work:
    """Lies in Ray's object store."""

    rules: Rules
    grounds: Mapping[str, "ray.ObjectRef[Ground]"]
    """By ticker: a lane maps only those of its jobs, without copying them."""
    threads: int
    limits: Limits

"""The lanes: workers that Ray Tune keeps running for all searches of a service.

A worker takes seconds to start and to import what it needs, which is longer than most searches of linear models take:
lanes are there before a search and stay after it.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray

from orchestrator.search.settings import DriverSettings
from orchestrator.search.slots import broker

log = logging.getLogger(__name__)

TUNE_ENVIRONMENT = {
    # Lines of CSV, JSON and TensorBoard that nobody reads, and snapshots from which nothing is restored.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # Tables on a terminal that nobody looks at.
    "RAY_AIR_NEW_OUTPUT": "0",
}
AGAIN_SECONDS = 5.0


def pool_of(gpus: float) -> str:
    """The pool of lanes that hold so many GPUs each."""
    return f"gpus-{gpus:g}"


def count(settings: DriverSettings, nodes: Sequence[Mapping[str, float]], gpus: float) -> int:
    """Lanes of a pool on a cluster of nodes with these resources: no more than can evaluate at once."""
    room = sum(node.get("GPU", 0.0) // gpus if gpus else node.get("CPU", 0.0) for node in nodes)
    return max(1, min(settings.max_concurrent_trials, int(room)))


class Lanes:
    """Has Ray Tune run the lanes of a pool, in a thread that goes on for as long as this process."""

    def __init__(self, namespace: str, gpus: float, lanes: int, tune_dir: Path) -> None:
        self._namespace, self._gpus, self._lanes, self._folder = namespace, gpus, lanes, tune_dir
        threading.Thread(target=self._keep, name="lanes", daemon=True).start()

    def _keep(self) -> None:
        while True:
            try:
                self._run()
                error = "Tune has ended"
            except Exception as failed:
                log.exception("lanes ended")
                error = f"{type(failed).__name__}: {failed}"
            ray.get(broker(self._namespace).broken.remote(pool_of(self._gpus), error))
            time.sleep(AGAIN_SECONDS)

    def _run(self) -> None:
        os.environ.update(TUNE_ENVIRONMENT)
        # Tune takes seconds to import, and reads its environment then.
        from ray import tune

        from orchestrator.search.trainable import LaneTrainable, Losses

        pool = pool_of(self._gpus)
        name = f"lanes-{pool}"
        shutil.rmtree(self._folder / name, ignore_errors=True)
        tune.register_trainable(name, tune.with_resources(LaneTrainable, {"cpu": 0.001, "gpu": self._gpus}))
        tune.Tuner(
            name,
            param_space={
                "lane": tune.grid_search(list(range(self._lanes))),
                "pool": pool,
                "namespace": self._namespace,
            },
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: trial.trial_id),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self._folder),
                callbacks=[Losses(broker(self._namespace))],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=-1),
                verbose=0,
            ),
        ).fit()


def start(settings: DriverSettings, gpus: float = 0.0) -> None:
    """See that a pool's lanes run, in the Ray session that this process is connected to; they start meanwhile."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    broker(settings.namespace)
    actor = ray.remote(Lanes).options(
        name=f"lanes-{pool_of(gpus)}",
        namespace=settings.namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
    )
    actor.remote(settings.namespace, gpus, count(settings, nodes, gpus), settings.tune_dir)

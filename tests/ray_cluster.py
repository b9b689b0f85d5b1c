"""A Ray head for tests, started by the code that the service starts its own with."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from streams.alone import running
from streams.child import Facts
from streams.ray_head import RayHead
from streams.run_folder import RunFolder
from streams.settings import Settings


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    """The facts of a head of the session's own, behind the token that this process has."""
    folder = RunFolder(tmp_path_factory.mktemp("ray"))
    folder.ray.mkdir(parents=True)
    shutil.copyfile(os.environ["RAY_AUTH_TOKEN_PATH"], folder.ray / "token")
    settings = Settings.read({"RAY_DASHBOARD_PORT": "0", "DATA_DIR": str(folder.path)})
    with running(RayHead(folder, settings, os.environ), folder) as (facts, _):
        yield facts


@contextmanager
def connected(head: Facts, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """This process connected to a head; `environment` is for its workers.

    Lanes that searches have started end with it: the next process may have another environment.
    """
    import ray

    from orchestrator.search.slots import NAME

    ray.init(
        address=str(head["address"]),
        namespace="trading_bot",
        log_to_driver=False,
        logging_level=logging.WARNING,
        runtime_env={"env_vars": dict(environment or {})},
    )
    try:
        yield
    finally:
        for name in ("lanes-gpus-0", NAME):
            with suppress(ValueError):
                ray.kill(ray.get_actor(name))
        ray.shutdown()

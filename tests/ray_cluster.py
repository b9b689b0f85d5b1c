"""A Ray head for tests, started by the code that the service starts its own with."""

import logging
import os
from collections.abc import Iterator

import pytest

from streams.child import Facts
from streams.ray_head import RayHead, client_environment
from streams.run_folder import RunFolder
from streams.settings import Settings
from tests.broker import running


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    """The facts of a head of the session's own. What its clients need is in this process's environment."""
    folder = RunFolder(tmp_path_factory.mktemp("ray"))
    settings = Settings.read({"RAY_DASHBOARD_PORT": "0", "DATA_DIR": str(folder.path)})
    environment = client_environment(folder)
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with running(RayHead(folder, settings, os.environ), folder) as (facts, _):
            yield facts
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def ray_client(ray_head: Facts) -> Iterator[Facts]:
    """This process connected to the session's head, in the service's namespace."""
    import ray

    ray.init(
        address=str(ray_head["address"]), namespace="trading_bot", log_to_driver=False, logging_level=logging.WARNING
    )
    yield ray_head
    ray.shutdown()

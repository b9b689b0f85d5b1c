"""The broker for tests: KAFKA_BOOTSTRAP_SERVERS if set, else a container where Docker answers, else an embedded one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams import kafka
from streams.alone import running
from streams.broker.embedded import EmbeddedBroker
from streams.run_folder import RunFolder
from streams.settings import Settings

IMAGE = "confluentinc/cp-kafka:7.9.0"


@pytest.fixture(scope="session")
def kafka_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """librdkafka's connection settings for a broker that has the contract's topics; one broker for the session."""
    settings = Settings.read(os.environ)
    if not settings.embedded_broker:
        config = kafka.client_config(settings, RunFolder(settings.data_dir))
        kafka.ensure_topics(config)
        yield config
    elif docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer(IMAGE).with_kraft() as container:
            config = {"bootstrap.servers": container.get_bootstrap_server()}
            kafka.ensure_topics(config)
            yield config
    else:
        with embedded_broker(tmp_path_factory.mktemp("broker")) as config:
            kafka.ensure_topics(config)
            yield config


@contextmanager
def embedded_broker(data_dir: Path, port: int = 0) -> Iterator[dict[str, Any]]:
    """A broker of its own on a data folder: librdkafka's connection settings for it."""
    with running(EmbeddedBroker(RunFolder(data_dir), port, os.environ), RunFolder(data_dir)) as (facts, _):
        yield {"bootstrap.servers": facts["bootstrap"]}


def docker_answers() -> bool:
    """Whether testcontainers would find an engine; asked in another process, since a failure leaves sockets open."""
    ask = [sys.executable, "-c", "import docker; docker.from_env().ping()"]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0

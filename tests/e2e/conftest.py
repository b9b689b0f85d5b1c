"""One running service for all end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.service import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Ready, and deploying whatever a request wants without the gate; at the end it says that all went well."""
    with running(tmp_path_factory.mktemp("service"), GATE_OVERRIDE="live") as started:
        yield started
    assert started.process.returncode == 0, started.said

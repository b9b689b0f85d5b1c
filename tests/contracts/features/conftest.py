"""The storages that the contract of feature sources holds for; another one is another line in STORAGES."""

from pathlib import Path

import pytest

from tests.contracts.features.storages import STORAGES, Storage


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage."""
    return STORAGES[request.param](tmp_path)

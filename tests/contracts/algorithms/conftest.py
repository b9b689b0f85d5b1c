"""The contract's families, each by its name; a further one is a further entry of FAMILIES."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from orchestrator.algorithms.base import Trainer
from tests.contracts.algorithms.families import FAMILIES, Family, install


@pytest.fixture(scope="package", autouse=True)
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example's package is installed."""
    directory = tmp_path_factory.mktemp("installed")
    install(directory)
    sys.path.insert(0, str(directory))
    yield
    sys.path.remove(str(directory))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """A family."""
    if request.param == "lstm" and find_spec("jax") is None:
        pytest.skip("THE EXTRA lstm IS NOT INSTALLED: its contract is not tested; install ray-orchestrator[lstm]")
    return FAMILIES[request.param]


@pytest.fixture
def trainer(family: Family) -> Trainer:
    """Its trainer."""
    return family.build()

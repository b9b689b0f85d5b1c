"""Experiments from request to verdict, each on Ray Tune and each with something else the matter."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.scoring import evaluate_history
from orchestrator.store import experiments, trials
from orchestrator.store.database import Database
from orchestrator.store.tables import TrialStatus
from schemas.search import Deploy, SearchRequest
from tests.integration.searching import Ended, admitted, lead, ray_session
from tests.unit.search.studies import GRID, TRAINER, search_request, study, write_market

pytestmark = pytest.mark.slow

DEADLY = 0.013
PLUGIN = f'''
import os

from orchestrator.algorithms.elasticnet import ElasticNetTrainer


class DeadlyTrainer(ElasticNetTrainer):
    """Takes its worker down with it at one value of alpha, as a fault in a compiled library does."""

    name = "deadly"

    def evaluate(self, configurations, features, target, folds, seed):
        if any(configuration["alpha"] == {DEADLY} for configuration in configurations):
            os._exit(1)
        return super().evaluate(configurations, features, target, folds, seed)
'''
REQUESTS = {
    "whole": search_request(
        ("AAA", "BBB"),
        holdout=60,
        deploy=Deploy(auto=True, ensemble_name="bot", top_n=2, gate=False),
    ),
    "faulty": search_request(param_grid={"alpha": (0.01, 1000.0), "l1_ratio": (0.5,)}, request_id="faulty"),
    "deadly": search_request(
        algorithm="deadly", param_grid={"alpha": (0.01, DEADLY), "l1_ratio": (0.5, 0.9)}, request_id="deadly"
    ),
    "hopeless": search_request(
        param_grid={"alpha": (90.0, 95.0), "l1_ratio": (1.0,)}, deploy=Deploy(auto=True), request_id="hopeless"
    ),
    "blind": search_request(("ZZZ",)),
}


def install(plugin: Path) -> dict[str, str]:
    """Lay an algorithm's package out as an installer does; the environment in which it is found."""
    distribution = plugin / "deadly-1.0.dist-info"
    distribution.mkdir(parents=True)
    (plugin / "deadly.py").write_text(PLUGIN)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[ray_orchestrator.algorithms]\ndeadly = deadly:DeadlyTrainer\n")
    return {"PYTHONPATH": str(plugin)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def ended(directory: Path) -> Iterator[dict[str, Ended]]:
    with ray_session(install(directory / "plugin")):
        yield asyncio.run(lead(directory, REQUESTS, gate_override="live"))

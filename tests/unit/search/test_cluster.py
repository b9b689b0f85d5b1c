from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.algorithms.base import Resources
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.search.tuner import cluster_for
from tests.unit.search.studies import driver_settings

NODES = st.lists(st.fixed_dictionaries({"CPU": st.integers(1, 64).map(float), "GPU": st.integers(0, 8).map(float)}))


class Hungry(ElasticNetTrainer):
    """Asks for what the specification's table gives a recurrent network."""

    resources = Resources(cpus=4.0, gpus=1.0)


MANY = 1_000


def settings(**fields: Any) -> Any:
    return driver_settings(Path("unused"), **fields)


@given(NODES, st.none() | st.floats(0.5, 32), st.integers(1, 100))
def test_trials_fit_the_largest_node_and_lanes_the_cluster(
    nodes: list[dict[str, float]], cpus: float | None, most: int
) -> None:
    found = cluster_for(settings(cpus_per_trial=cpus, max_concurrent_trials=most), Hungry(), nodes, jobs=MANY)
    assert 1 <= found.lanes <= most
    assert found.cpus <= max((node["CPU"] for node in nodes), default=1.0)
    assert found.gpus <= max((node["GPU"] for node in nodes), default=0.0)
    assert found.lanes == 1 or found.lanes * found.cpus <= sum(node["CPU"] for node in nodes)


def test_a_setting_goes_before_what_the_family_asks_for() -> None:
    nodes = [{"CPU": 16.0, "GPU": 2.0}]
    assert cluster_for(settings(), Hungry(), nodes, jobs=MANY).cpus == 4.0
    assert cluster_for(settings(), Hungry(), nodes, jobs=MANY).gpus == 1.0
    told = cluster_for(settings(cpus_per_trial=2.0, gpus_per_trial=0.0), Hungry(), nodes, jobs=MANY)
    assert (told.cpus, told.gpus, told.lanes) == (2.0, 0.0, 8)


def test_without_gpus_a_family_that_asks_for_one_trains_without() -> None:
    found = cluster_for(settings(), Hungry(), [{"CPU": 2.0}], jobs=MANY)
    assert (found.cpus, found.gpus, found.lanes) == (2.0, 0.0, 1)


def test_what_fits_one_job_is_done_by_one_lane() -> None:
    assert cluster_for(settings(cpus_per_trial=1.0), Hungry(), [{"CPU": 16.0}], jobs=1).lanes == 1

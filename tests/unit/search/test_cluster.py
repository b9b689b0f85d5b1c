from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.algorithms.base import Resources
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.search.lanes import count, pool_of
from orchestrator.search.tuner import cluster_for
from tests.unit.search.studies import driver_settings

NODES = st.lists(st.fixed_dictionaries({"CPU": st.integers(1, 64).map(float), "GPU": st.integers(0, 8).map(float)}))


class Hungry(ElasticNetTrainer):
    """Asks for what the specification's table gives a recurrent network."""

    resources = Resources(cpus=4.0, gpus=1.0)


def settings(**fields: Any) -> Any:
    return driver_settings(Path("unused"), **fields)


@given(NODES, st.none() | st.floats(0.5, 32), st.integers(1, 100))
def test_trials_fit_the_largest_node_and_lanes_the_cluster(
    nodes: list[dict[str, float]], cpus: float | None, most: int
) -> None:
    found = cluster_for(settings(cpus_per_trial=cpus, max_concurrent_trials=most), Hungry(), nodes)
    assert 1 <= found.lanes <= most
    assert found.cpus <= max((node["CPU"] for node in nodes), default=1.0)
    assert found.gpus <= max((node["GPU"] for node in nodes), default=0.0)
    assert found.lanes == 1 or found.lanes * found.cpus <= sum(node["CPU"] for node in nodes)


def test_a_setting_goes_before_what_the_family_asks_for() -> None:
    nodes = [{"CPU": 16.0, "GPU": 2.0}]
    assert cluster_for(settings(), Hungry(), nodes).cpus == 4.0
    assert cluster_for(settings(), Hungry(), nodes).gpus == 1.0
    told = cluster_for(settings(cpus_per_trial=2.0, gpus_per_trial=0.0), Hungry(), nodes)
    assert (told.cpus, told.gpus, told.lanes) == (2.0, 0.0, 8)


def test_jobs_that_read_all_rows_have_all_cores_one_after_the_other() -> None:
    nodes = [{"CPU": 16.0}, {"CPU": 8.0}]
    found = cluster_for(settings(), ElasticNetTrainer(), nodes, streamed=True)
    assert (found.cpus, found.lanes) == (24.0, 1)
    told = cluster_for(settings(cpus_per_trial=8.0), ElasticNetTrainer(), nodes, streamed=True)
    assert (told.cpus, told.lanes) == (8.0, 3)


def test_without_gpus_a_family_that_asks_for_one_trains_without() -> None:
    found = cluster_for(settings(), Hungry(), [{"CPU": 2.0}])
    assert (found.cpus, found.gpus, found.lanes) == (2.0, 0.0, 1)


@given(NODES, st.floats(0.25, 4), st.integers(1, 100))
def test_a_pool_has_no_more_lanes_than_can_evaluate_at_once(
    nodes: list[dict[str, float]], gpus: float, most: int
) -> None:
    told = settings(max_concurrent_trials=most)
    assert 1 <= count(told, nodes, 0.0) <= max(1, min(most, int(sum(node["CPU"] for node in nodes))))
    # A lane holds its GPUs of one node.
    assert 1 <= count(told, nodes, gpus) <= max(1, sum(int(node["GPU"] // gpus) for node in nodes))


def test_lanes_of_other_needs_are_of_another_pool() -> None:
    assert len({pool_of(gpus) for gpus in (0.0, 0.5, 1.0)}) == 3

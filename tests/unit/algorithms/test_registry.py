from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from orchestrator.algorithms import base
from orchestrator.algorithms.base import Resources, Trainer, UnknownAlgorithm, registered, trainer
from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.algorithms.lightgbm_regressor import LightGBMTrainer
from orchestrator.algorithms.lstm import LSTMTrainer
from orchestrator.algorithms.random_forest_regressor import RandomForestTrainer
from orchestrator.algorithms.xgboost_regressor import XGBoostTrainer


def offer(monkeypatch: pytest.MonkeyPatch, **offers: tuple[str, ...]) -> None:
    """Makes the installed packages offer these classes by name, and nothing else."""
    found = EntryPoints(
        EntryPoint(name, where, base.ENTRY_POINTS) for name, places in offers.items() for where in places
    )

    def entry_points(**wanted: Any) -> EntryPoints:
        return found.select(**wanted)

    monkeypatch.setattr(base, "entry_points", entry_points)


def test_the_elastic_net_is_registered_under_its_own_name() -> None:
    algorithms = registered()
    assert isinstance(algorithms["elasticnet"], ElasticNetTrainer)
    assert {name: algorithm.name for name, algorithm in algorithms.items()} == {name: name for name in algorithms}


def test_every_registered_default_grid_is_one_that_its_trainer_accepts() -> None:
    for algorithm in registered().values():
        for name, values in algorithm.default_grid.items():
            assert values
            for value in values:
                first = {other: choices[0] for other, choices in algorithm.default_grid.items()}
                assert algorithm.refuse(first | {name: value}) == ()


@pytest.mark.parametrize(
    ("family", "name", "resources"),
    [
        (ElasticNetTrainer(), "elasticnet", Resources(cpus=1.0, gpus=0.0)),
        (XGBoostTrainer(), "xgboost_regressor", Resources(cpus=2.0, gpus=0.5)),
        (LightGBMTrainer(), "lightgbm_regressor", Resources(cpus=1.0, gpus=0.0)),
        (RandomForestTrainer(), "random_forest_regressor", Resources(cpus=2.0, gpus=0.0)),
        (LSTMTrainer(), "lstm", Resources(cpus=4.0, gpus=1.0)),
    ],
)
def test_every_family_is_registered_and_takes_what_the_specification_says(
    family: Trainer, name: str, resources: Resources
) -> None:
    assert type(trainer(name)) is type(family)
    assert (family.name, family.resources) == (name, resources)


@pytest.mark.parametrize("name", ["elasticnt", "", "\x00" * 300])
def test_an_unknown_algorithm_is_refused_with_the_ones_there_are(name: str) -> None:
    with pytest.raises(UnknownAlgorithm, match="elasticnet") as refusal:
        trainer(name)
    assert [reason.code for reason in refusal.value.reasons] == ["unknown_algorithm"]


def test_a_name_that_two_packages_offer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, elasticnet=("orchestrator.algorithms.elasticnet:ElasticNetTrainer", "elsewhere:Other"))
    with pytest.raises(UnknownAlgorithm, match="elsewhere:Other") as refusal:
        registered()
    assert [reason.code for reason in refusal.value.reasons] == ["ambiguous_algorithm"]


def test_an_offer_that_is_installed_twice_from_one_place_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "orchestrator.algorithms.elasticnet:ElasticNetTrainer"
    offer(monkeypatch, elasticnet=(place, place))
    assert list(registered()) == ["elasticnet"]

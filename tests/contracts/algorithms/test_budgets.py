"""What every family must keep to when training is cut short, and when it goes on."""

import numpy as np
import pytest

from orchestrator.algorithms.base import CannotTrain, Trainer
from orchestrator.algorithms.elasticnet import ElasticNetPredictor
from tests.contracts.algorithms.families import FAMILIES, NAMES, Family, fit, rows

pytestmark = pytest.mark.slow

ANEW = ["elasticnet", "huber_regressor"]
anew = pytest.mark.parametrize("family", ANEW, indirect=True)
"""Families whose budget is a share of the rows."""
accumulating = pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ANEW], indirect=True)
"""Families that go on from where a predictor stands."""


@anew
def test_a_share_of_the_rows_is_the_latest_ones(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    spoiled = features.copy()
    spoiled[:120] *= -1.0
    spoiled[:120, 3] += 1e5
    for percent, expected in ((50, True), (51, False)):
        one, other = (
            trainer.prepare(each, target, NAMES, seed=3, threads=1).fit(family.good[:1], budget=percent)[0]
            for each in (features, spoiled)
        )
        assert np.allclose(one.predict(features), other.predict(features), rtol=1e-6) == expected


@anew
def test_all_of_the_rows_are_the_full_budget_and_a_start_is_no_matter(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    training = trainer.prepare(features, target, NAMES, seed=3, threads=1)
    half = training.fit(family.good, budget=50)
    full = [predictor.dump() for predictor in training.fit(family.good)]
    assert [predictor.dump() for predictor in training.fit(family.good, budget=100)] == full
    assert [predictor.dump() for predictor in training.fit(family.good, starts=half)] == full


def test_more_budget_is_another_model(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    training = trainer.prepare(features, target, NAMES, seed=3, threads=1)
    assert training.fit(family.good[:1], budget=30)[0].dump() != training.fit(family.good[:1], budget=60)[0].dump()


def test_the_budget_says_which_of_both_it_is(family: Family, trainer: Trainer) -> None:
    assert trainer.budget.accumulates == (trainer.name not in ANEW)


@accumulating
def test_going_on_spends_the_rest_and_leaves_the_start_as_it_was(family: Family, trainer: Trainer) -> None:
    begun = fit(trainer, family.good, budget=6)
    before = [predictor.dump() for predictor in begun]
    gone_on = fit(trainer, family.good, budget=12, starts=begun)
    assert [spent(predictor) for predictor in gone_on] == [12] * len(begun)
    assert [predictor.dump() for predictor in begun] == before
    assert not {predictor.dump() for predictor in gone_on} & set(before)


@accumulating
def test_going_on_from_a_loaded_start_is_going_on_from_the_start(family: Family, trainer: Trainer) -> None:
    begun = fit(trainer, family.good, budget=6)
    loaded = [trainer.load(predictor.dump()) for predictor in begun]
    expected = [predictor.dump() for predictor in fit(trainer, family.good, budget=12, starts=begun)]
    for threads in (1, 3):
        found = fit(trainer, family.good, budget=12, starts=loaded, threads=threads)
        assert [predictor.dump() for predictor in found] == expected


@accumulating
def test_going_on_under_other_hyper_parameters_is_possible(family: Family, trainer: Trainer) -> None:
    begun = fit(trainer, family.good, budget=6)
    gone_on = fit(trainer, [*family.good[1:], family.good[0]], budget=12, starts=begun)
    for predictor in gone_on:
        assert spent(predictor) == 12
        assert np.isfinite(predictor.predict(rows()[0])).all()


@accumulating
def test_what_has_no_start_is_trained_from_scratch_beside_what_has(family: Family, trainer: Trainer) -> None:
    scratch = fit(trainer, family.good, budget=12)
    begun = fit(trainer, family.good, budget=6)
    mixed = fit(trainer, family.good, budget=12, starts=[None, begun[1], None])
    assert [mixed[number].dump() == scratch[number].dump() for number in (0, 2)] == [True, True]
    alone = fit(trainer, family.good[1:2], budget=12, starts=begun[1:2])
    assert mixed[1].dump() == alone[0].dump()


@accumulating
def test_a_start_that_has_spent_as_much_is_handed_back(family: Family, trainer: Trainer) -> None:
    begun = fit(trainer, family.good, budget=6)
    for budget in (6, 3):
        assert fit(trainer, family.good, budget=budget, starts=begun) == begun


@accumulating
def test_without_a_budget_it_is_the_full_one_or_the_configurations_own(family: Family, trainer: Trainer) -> None:
    found = fit(trainer, family.good, budget=None)
    asked = [configuration.get("n_estimators", trainer.budget.full) for configuration in family.good]
    assert [spent(predictor) for predictor in found] == asked
    assert [spent(predictor) for predictor in fit(trainer, family.good, budget=7)] == [7] * len(asked)


@accumulating
def test_a_start_of_another_family_or_of_other_features_is_refused(family: Family, trainer: Trainer) -> None:
    features, target = rows()
    begun = fit(trainer, family.good[:1], budget=6)
    foreign = ElasticNetPredictor(NAMES, (0.0,) * len(NAMES), 0.0)
    for names, start in ((NAMES, foreign), (NAMES[::-1], begun[0])):
        training = trainer.prepare(features, target, names, seed=3, threads=1)
        with pytest.raises(CannotTrain) as refusal:
            training.fit(family.good[:2], budget=12, starts=[None, start])
        assert [(reason.code, reason.where) for reason in refusal.value.reasons] == [
            ("foreign_start", "configurations[1]")
        ]


@accumulating
def test_each_configuration_has_a_start_or_none(family: Family, trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="2 configurations have 1 starts"):
        fit(trainer, family.good[:2], starts=[None])


def spent(predictor: object) -> int:
    found = predictor.spent  # type: ignore[attr-defined]
    assert isinstance(found, int)
    return found

"""A package that adds an algorithm: laid out as an installer does, it is found by its name."""

import numpy as np
import pytest

from orchestrator.algorithms.base import registered, trainer
from orchestrator.core.arrays import Floats
from tests.contracts.algorithms.families import NAMES, fit, rows

pytestmark = pytest.mark.slow


def test_it_is_found_by_its_name_beside_our_own() -> None:
    found = trainer("huber_regressor")
    assert (found.name, type(found).__module__) == ("huber_regressor", "huber_regressor")
    assert {"elasticnet", "huber_regressor"} <= set(registered())


def test_outliers_do_not_lead_it_astray() -> None:
    features, target = rows(2000)
    spoiled: Floats = np.where(np.arange(2000) % 50 == 0, 5.0 * np.sign(features[:, 2]), target)
    family = trainer("huber_regressor")
    (sound,) = fit(family, [{"epsilon": 1.1}], count=2000)
    (robust,) = family.prepare(features, spoiled, NAMES, seed=3, threads=1).fit([{"epsilon": 1.1}])
    (plain,) = (
        trainer("elasticnet").prepare(features, spoiled, NAMES, seed=3, threads=1).fit([{"alpha": 1e-6, "l1_ratio": 0}])
    )
    unseen = rows(500, seed=2)[0]
    wanted = sound.predict(unseen)
    missed = [float(np.abs(each.predict(unseen) - wanted).mean()) for each in (robust, plain)]
    assert missed[0] < 0.1 * missed[1]

import numpy as np
from hypothesis import given

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import Space, contains, sample
from orchestrator.search.strategies.coordinates import decoded, encoded, is_continuous
from tests.property.core.test_space import SEEDS, SPACES


@given(SPACES, SEEDS)
def test_a_configuration_comes_back_from_its_coordinates(space: Space, seed: int) -> None:
    configuration = sample(space, np.random.default_rng(seed))
    coordinates = encoded(space, configuration)
    there_and_back = decoded(space, coordinates)
    assert contains(space, there_and_back)
    for name, dimension in space.items():
        if is_continuous(dimension):
            assert 0.0 <= coordinates[name] <= 1.0
        else:
            assert canonical_json(there_and_back[name]) == canonical_json(configuration[name])

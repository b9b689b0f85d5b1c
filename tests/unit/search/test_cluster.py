from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.tuner import slots_of

NEEDS = st.floats(0.1, 4.0)


@given(st.floats(0, 64), st.floats(0, 8), NEEDS, st.just(0.0) | NEEDS, st.integers(1, 100))
def test_as_many_blocks_as_fit_and_at_least_one(cpus: float, gpus: float, cpu: float, gpu: float, most: int) -> None:
    slots = slots_of(cpus, gpus, cpu, gpu, most)
    assert 1 <= slots <= most
    if slots > 1:
        assert slots * cpu <= cpus * (1 + 1e-9)
        assert slots * gpu <= gpus * (1 + 1e-9)


def test_eight_trials_at_once_are_two_on_two_cpus() -> None:
    assert slots_of(2.0, 0.0, 1.0, 0.0, 8) == 2

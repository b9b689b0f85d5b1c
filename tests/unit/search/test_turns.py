from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.turns import PATIENCE, Turns


def opened(runs: int, *, slots: int = 2, lanes: int = 2, jobs: int = 10, cpus: float = 1.0) -> Turns[str]:
    turns: Turns[str] = Turns(slots=slots, cpus=float(slots))
    for run in range(runs):
        turns.open(f"r{run}", cpus)
        turns.offer(f"r{run}", [f"r{run}.{job}" for job in range(jobs)])
        for lane in range(lanes):
            assert turns.wait(f"r{run}", str(lane))
    return turns


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 4))
def test_nobody_is_a_turn_ahead_of_another(runs: int, slots: int, lanes: int) -> None:
    turns = opened(runs, slots=slots, lanes=lanes)
    served = dict.fromkeys((f"r{run}" for run in range(runs)), 0)
    running = turns.grants(0.0)
    for _ in range(30):
        assert len(running) <= slots
        for grant in running:
            served[grant.run] += 1
        # Whoever began first ends first.
        if not running:
            break
        over, *running = running
        turns.wait(over.run, over.lane)
        running += turns.grants(0.0)
        if max(served.values()) < 8:
            assert max(served.values()) - min(served.values()) <= max(1, slots)
    assert not running or sum(served.values()) >= 10


def test_a_lane_that_asks_again_gives_back_its_slot() -> None:
    turns = opened(1, slots=1, lanes=1, jobs=2)
    assert [grant.job for grant in turns.grants(0.0)] == ["r0.0"]
    assert turns.grants(0.0) == []
    turns.wait("r0", "0")
    assert [grant.job for grant in turns.grants(0.0)] == ["r0.1"]


def test_a_lane_that_is_gone_leaves_its_job() -> None:
    turns = opened(1, slots=1, lanes=2, jobs=2)
    (grant,) = turns.grants(0.0)
    assert turns.lost(grant.run, grant.lane) == "r0.0"
    assert turns.lost(grant.run, grant.lane) is None
    turns.offer("r0", ["again"], first=True)
    assert [grant.job for grant in turns.grants(0.0)] == ["again"]


def test_the_slot_of_a_lane_that_is_quiet_goes_to_the_next() -> None:
    turns = opened(2, slots=1, lanes=1)
    (first,) = turns.grants(0.0)
    turns.beat(first.run, first.lane, PATIENCE)
    assert turns.grants(2 * PATIENCE) == []
    (second,) = turns.grants(2 * PATIENCE + 1)
    assert second.run != first.run
    assert turns.lost(first.run, first.lane) == first.job


def test_a_large_job_is_not_overtaken_for_ever() -> None:
    turns: Turns[str] = Turns(slots=8, cpus=2.0)
    for run, cpus in (("small", 1.0), ("large", 2.0)):
        turns.open(run, cpus)
        for lane in "abc":
            turns.wait(run, lane)
    turns.offer("small", ["s1", "s2", "s3", "s4"])
    small = turns.grants(0.0)
    assert [grant.job for grant in small] == ["s1", "s2"]
    turns.offer("large", ["l1"])
    turns.wait("small", small[0].lane)
    assert turns.grants(0.0) == []
    turns.wait("small", small[1].lane)
    assert [grant.job for grant in turns.grants(0.0)] == ["l1"]


def test_a_job_larger_than_the_cluster_runs_alone() -> None:
    turns = opened(1, slots=2, lanes=2, cpus=16.0)
    assert len(turns.grants(0.0)) == 1


def test_a_run_that_is_over_lets_its_lanes_go() -> None:
    turns = opened(1, slots=1, lanes=3)
    (grant,) = turns.grants(0.0)
    assert set(turns.close("r0")) == {"0", "1", "2"} - {grant.lane}
    assert not turns.wait("r0", grant.lane)
    assert turns.lost("r0", grant.lane) is None
